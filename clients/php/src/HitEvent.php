<?php

namespace RatelimitClient;

/** For metrics: one for each hit. */
final class HitEvent
{
    /**
     * @param 'allowed'|'denied'|'open'|'closed'                     $outcome open and closed: Redis gave no answer, and `unavailable` decided
     * @param 'timeout'|'connection'|'server'|'refused'|null $reason  of open and closed
     */
    public function __construct(
        public readonly string $limiter,
        public readonly string $outcome,
        public readonly ?string $reason,
        public readonly float $seconds,
    ) {
    }
}
