<?php

namespace RatelimitClient;

use Psr\Log\LoggerInterface;

/** What limiters ask through: one connection of its own, a deadline, and what happens where there is no answer. */
final class Client
{
    public readonly bool $isOpen;
    private readonly Server $server;
    private readonly Report $report;
    private ?Connection $connection = null;
    private int $process = 0;

    /**
     * @param mixed                           $redis       an address ("redis://localhost:6379/0", rediss://, unix://), a connected Redis of phpredis, or a Predis\Client
     * @param string                          $prefix      before each key and each policy, with a colon
     * @param float                           $timeout     seconds until a hit goes on without an answer
     * @param 'open'|'closed'                 $unavailable what a hit without an answer is
     * @param array<string, mixed>            $tls         PHP's options of an SSL context, such as cafile
     * @param callable(Failure): mixed|null   $onError     told of each error
     * @param callable(HitEvent): mixed|null  $onHit       told of each hit, for metrics
     */
    public function __construct(
        mixed $redis,
        public readonly string $prefix = 'symfony',
        private readonly float $timeout = 1.0,
        string $unavailable = 'open',
        array $tls = [],
        ?LoggerInterface $logger = null,
        ?callable $onError = null,
        ?callable $onHit = null,
    ) {
        if (!in_array($unavailable, ['open', 'closed'], true)) {
            throw new \InvalidArgumentException('unavailable: expected open or closed');
        }
        if (!($timeout > 0 && $timeout < 86_400)) {
            throw new \InvalidArgumentException('timeout: expected seconds above 0');
        }
        $this->isOpen = $unavailable === 'open';
        $this->server = Server::of($redis, $tls);
        $this->report = new Report($logger, $onError === null ? null : $onError(...), $onHit === null ? null : $onHit(...));
    }

    /**
     * The server's numbers, or why there are none.
     *
     * @param list<string> $words
     * @param int          $count how many integers the reply begins with
     *
     * @return list<mixed>|Failure
     */
    public function hit(string $limiter, array $words, int $count = 5): array|Failure
    {
        $begun = hrtime(true);
        try {
            $reply = $this->ask($words);
            if (!is_array($reply) || count(array_filter(array_slice($reply, 0, $count), is_int(...))) < $count || !in_array($reply[0], [0, 1], true)) {
                throw new Failure('refused', 'not a reply of this module: '.substr((string) json_encode($reply), 0, 100));
            }
        } catch (Failure $failure) {
            $this->report->error($limiter, $failure);
            $this->report->hit($limiter, $this->isOpen ? 'open' : 'closed', $failure->reason, $begun);

            return $failure;
        }
        $this->report->hit($limiter, $reply[0] === 1 ? 'allowed' : 'denied', null, $begun);

        return $reply;
    }

    /**
     * The reply to a command.
     *
     * @param list<string> $words
     *
     * @throws Failure
     */
    public function ask(array $words): mixed
    {
        $deadline = new Deadline($this->timeout);
        $connection = $this->process === getmypid() ? $this->connection : null; // a child of a fork has its own
        $this->connection = null;
        if ($connection === null || $connection->isStale()) {
            $connection = new Connection($this->server, $deadline);
        }
        $reply = $connection->call($words, $deadline); // whatever is thrown, this connection is not used again
        [$this->connection, $this->process] = [$connection, getmypid()];

        return $reply instanceof Failure ? throw $reply : $reply;
    }

    /** Where a failure is no reason to stop: it is said. */
    public function try(string $limiter, callable $ask): void
    {
        try {
            $ask();
        } catch (Failure $failure) {
            $this->report->error($limiter, $failure);
        }
    }
}
