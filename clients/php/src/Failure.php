<?php

namespace RatelimitClient;

/**
 * Why there was no answer, or why the server gave none. `$reason` is one word for metrics:
 *   timeout     no answer within the deadline
 *   connection  there is none, or it broke
 *   server      Redis is there and cannot (loading, memory full, a replica)
 *   refused     it does not understand or does not permit, or what answers is no such server; somebody has to mend that
 */
final class Failure extends \RuntimeException
{
    private const REFUSALS = ['ERR', 'WRONGTYPE', 'CROSSSLOT', 'NOPERM', 'NOAUTH', 'WRONGPASS', 'EXECABORT', 'MOVED'];

    public function __construct(public readonly string $reason, string $message)
    {
        parent::__construct($message);
    }

    /** An error reply of the server's. */
    public static function replied(string $text): self
    {
        $isRefusal = in_array(strtok($text, ' '), self::REFUSALS, true) && !str_starts_with($text, 'ERR max number of clients');

        return new self($isRefusal ? 'refused' : 'server', $text);
    }
}
