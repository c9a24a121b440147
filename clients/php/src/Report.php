<?php

namespace RatelimitClient;

use Psr\Log\LoggerInterface;

/**
 * What a verdict hides is said: which limiter let whom through uncounted, and why. One line a second at most: of a process, and
 * with APCu of all of PHP-FPM's, which else forget with each request that they have said it.
 */
final class Report
{
    private static int $kept = 0;
    private static int $nextLine = 0;

    public function __construct(
        private readonly ?LoggerInterface $logger,
        private readonly ?\Closure $onError,
        private readonly ?\Closure $onHit,
    ) {
    }

    public function error(string $limiter, Failure $failure): void
    {
        $count = function_exists('apcu_enabled') && apcu_enabled() ? self::countOfAll() : self::countOfOne();
        if ($count > 0) {
            $alike = $count > 1 ? sprintf(' (and %d more since the last line)', $count - 1) : '';
            $line = sprintf('rate limiter "%s": %s: %s%s', $limiter, $failure->reason, $failure->getMessage(), $alike);
            $this->guarded(fn () => $this->logger !== null ? $this->logger->warning($line) : error_log($line));
        }
        if ($this->onError !== null) {
            $this->guarded(fn () => ($this->onError)($failure));
        }
    }

    public function hit(string $limiter, string $outcome, ?string $reason, int $begun): void
    {
        if ($this->onHit !== null) {
            $this->guarded(fn () => ($this->onHit)(new HitEvent($limiter, $outcome, $reason, (hrtime(true) - $begun) / 1e9)));
        }
    }

    /** How many the next line is about; 0 where there is none now. */
    private static function countOfOne(): int
    {
        ++self::$kept;
        $now = hrtime(true);
        if ($now < self::$nextLine) {
            return 0;
        }
        self::$nextLine = $now + 1_000_000_000;
        [$count, self::$kept] = [self::$kept, 0];

        return $count;
    }

    private static function countOfAll(): int
    {
        apcu_inc('ratelimit-client.kept');
        if (!apcu_add('ratelimit-client.line', true, 1)) {
            return 0;
        }
        $count = (int) apcu_fetch('ratelimit-client.kept');
        apcu_dec('ratelimit-client.kept', $count);

        return max(1, $count);
    }

    /** A hook of the application's that throws must not turn into a failed hit. */
    private function guarded(callable $hook): void
    {
        try {
            $hook();
        } catch (\Throwable $error) {
            error_log('rate limiter: a hook has thrown: '.$error->getMessage());
        }
    }
}
