<?php

namespace RatelimitClient\Symfony;

use RatelimitClient\Failure;
use Symfony\Component\RateLimiter\Exception\RateLimitExceededException;
use Symfony\Component\RateLimiter\RateLimit;

/**
 * A RateLimit as the server has it. `getRetryAfter` is rounded up to a whole second, so that its timestamp less time(), which is
 * what applications send as Retry-After, is never too early; `wait` waits to the millisecond.
 */
final class Answer extends RateLimit
{
    private const NEVER = '9999-12-31T23:59:59Z';

    private function __construct(int $remaining, private readonly float $at, bool $isAccepted, int $limit, public readonly ?Failure $error)
    {
        $retryAfter = $at === \INF ? new \DateTimeImmutable(self::NEVER) : \DateTimeImmutable::createFromFormat('U', (string) (int) ceil($at));
        parent::__construct($remaining, $retryAfter, $isAccepted, $limit);
    }

    /**
     * @param list<int> $numbers the server's: allowed, limit, remaining, retry_after_ms, reset_after_ms, and of a look next_ms
     * @param int|null  $waitMs  where it is not retry_after_ms
     */
    public static function of(array $numbers, ?int $waitMs = null, ?bool $isAccepted = null): self
    {
        [$allowed, $limit, $remaining, $retryMs] = $numbers;
        $waitMs ??= $retryMs;

        return new self($remaining, $waitMs < 0 ? \INF : microtime(true) + $waitMs / 1000, $isAccepted ?? $allowed === 1, $limit, null);
    }

    /** Without an answer of the server's. */
    public static function without(Failure $failure, bool $isOpen, int $limit): self
    {
        return new self($isOpen ? $limit : 0, microtime(true) + ($isOpen ? 0 : 1), $isOpen, $limit, $failure);
    }

    /** Unix time in seconds. */
    public function at(): float
    {
        return $this->at;
    }

    public function wait(): void
    {
        if ($this->at === \INF) {
            throw new RateLimitExceededException($this);
        }
        while (($left = $this->at - microtime(true)) > 0) {
            usleep((int) ceil(min($left, 60) * 1e6));
        }
    }
}
