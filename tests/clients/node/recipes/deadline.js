// When Redis is slow or away: an answer within timeoutMs all the same. Open (let through) suits most endpoints;
// closed suits logins, where guessing passwords must not be free while Redis is down.
//
// Tell the client not to queue commands while it has no connection, or they are counted later:
//   node-redis  createClient({ disableOfflineQueue: true })
//   ioredis     new Redis({ enableOfflineQueue: false, maxRetriesPerRequest: 0 })

/**
 * @param {Function} limit  a limiter
 * @param {{ timeoutMs?: number, open: boolean, onError?: (error: Error) => void }} options  onError: log it. A refusal
 *   of the server, such as WRONGTYPE, comes this way too
 */
export function withDeadline(limit, { timeoutMs = 100, open, onError = console.error }) {
  return async (key, options) => {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer from Redis within ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      return await Promise.race([limit(key, options), late]);
    } catch (error) {
      onError(error);
      return { allowed: open, error };
    } finally {
      clearTimeout(timer);
    }
  };
}
