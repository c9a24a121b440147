// The AI SDK's own mock: it answers with 20 words of 5 tokens, slowly enough to be interrupted. Yours goes here.

import { MockLanguageModelV3 } from "ai/test";

export const MAX_OUTPUT = 400;
const WORD = "token token token to"; // 20 characters: about 5 tokens
const WORDS = 20;

/** Time for what was sent to be read: a stream that fails drops what was not. */
const moment = () => new Promise((resolve) => setTimeout(resolve, 20));

export const model = new MockLanguageModelV3({
  doStream: async ({ prompt, abortSignal }) => {
    const asked = JSON.stringify(prompt);
    let sent = 0;
    return {
      stream: new ReadableStream({
        async pull(controller) {
          if (sent === 0) {
            controller.enqueue({ type: "stream-start", warnings: [] });
            controller.enqueue({ type: "text-start", id: "1" });
          }
          if (asked.includes("fail half-way") && sent === WORDS / 2) {
            await moment();
            throw new Error("the model is away");
          }
          // Whoever asks for no end is answered until they go.
          if (sent < WORDS || asked.includes("without end")) {
            if (asked.includes("without end")) await moment();
            abortSignal?.throwIfAborted();
            sent += 1;
            controller.enqueue({ type: "text-delta", id: "1", delta: WORD });
            return;
          }
          controller.enqueue({ type: "text-end", id: "1" });
          controller.enqueue({
            type: "finish",
            finishReason: { unified: "stop", raw: undefined },
            usage: {
              inputTokens: { total: 7, noCache: 7, cacheRead: undefined, cacheWrite: undefined },
              outputTokens: { total: 93, text: 93, reasoning: undefined },
            },
          });
          controller.close();
        },
      }),
    };
  },
});
