<?php

namespace RatelimitClient;

/** A point in time by which an answer is due. */
final class Deadline
{
    private readonly int $end;

    public function __construct(float $seconds)
    {
        $this->end = hrtime(true) + (int) ($seconds * 1e9);
    }

    /** Seconds, above 0. */
    public function left(): float
    {
        $left = $this->end - hrtime(true);

        return $left > 0 ? $left / 1e9 : throw new Failure('timeout', 'no answer within the timeout');
    }
}
