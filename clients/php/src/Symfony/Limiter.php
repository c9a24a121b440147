<?php

namespace RatelimitClient\Symfony;

use RatelimitClient\Client;
use RatelimitClient\Failure;
use Symfony\Component\RateLimiter\Exception\MaxWaitDurationExceededException;
use Symfony\Component\RateLimiter\Exception\ReserveNotSupportedException;
use Symfony\Component\RateLimiter\LimiterInterface;
use Symfony\Component\RateLimiter\RateLimit;
use Symfony\Component\RateLimiter\Reservation;

/** One key of a limiter. All decisions are the server's. */
final class Limiter implements LimiterInterface
{
    /**
     * @internal made by LimiterFactory
     *
     * @param string       $name   of the limiter, and of the server's policy that may replace its limits
     * @param list<string> $limits as the command has them
     */
    public function __construct(
        public readonly Client $client,
        public readonly string $name,
        public readonly string $key,
        private readonly string $algorithm,
        private readonly array $limits,
        public readonly int $limit,
    ) {
    }

    /** With 0 tokens a look: nothing is counted, and getRetryAfter says when more becomes available where nothing is left. */
    public function consume(int $tokens = 1): RateLimit
    {
        $numbers = $this->hit($tokens, ...($tokens === 0 ? ['NEXT'] : []));
        if ($numbers instanceof Failure) {
            return Answer::without($numbers, $this->client->isOpen, $this->limit);
        }
        $isLook = $tokens === 0 && $numbers[0] === 1;

        return Answer::of($numbers, $isLook ? ($numbers[2] > 0 ? 0 : $numbers[5]) : null);
    }

    /** Of token_bucket alone: its place is reserved with one command, and callers act one after another. */
    public function reserve(int $tokens = 1, ?float $maxTime = null): Reservation
    {
        if ($this->algorithm !== 'BUCKET') {
            throw new ReserveNotSupportedException(__CLASS__);
        }
        $mostMs = $maxTime === null ? null : (int) floor(min($maxTime, 3660 * 86_400) * 1000);
        $numbers = $this->hit($tokens, ...($mostMs === null ? ['RESERVE', '3660d'] : ($mostMs > 0 ? ['RESERVE', "{$mostMs}ms"] : [])));
        if ($numbers instanceof Failure) {
            $answer = Answer::without($numbers, $this->client->isOpen, $this->limit);
            $isReserved = $answer->isAccepted();
        } else {
            $isReserved = $numbers[0] === 1;
            $answer = Answer::of($numbers, null, $isReserved && $numbers[3] === 0);
            if (!$isReserved && $numbers[3] < 0 && $tokens > $this->limit) {
                throw new \InvalidArgumentException(sprintf('%d tokens cannot be reserved: the limit of "%s" is %d.', $tokens, $this->name, $numbers[1]));
            }
        }
        if (!$isReserved) {
            throw new MaxWaitDurationExceededException(sprintf('"%s" has no place for %d tokens within the time that is allowed.', $this->name, $tokens), $answer);
        }

        return new Reservation($answer->at(), $answer);
    }

    public function reset(): void
    {
        $this->client->ask(['DEL', $this->key]);
    }

    /** @internal gives back what was charged at that time, and nobody else's */
    public function giveBack(int $tokens, int $stamp): void
    {
        $this->client->ask(["RL.$this->algorithm", $this->key, ...$this->limits, 'COST', (string) -$tokens, 'AT', (string) $stamp, 'POLICY', $this->name]);
    }

    /**
     * @internal
     *
     * @return list<string> this limiter in a call of several
     */
    public function clause(int $tokens): array
    {
        return [$this->algorithm, ...$this->limits, 'COST', (string) $tokens, 'POLICY', $this->name];
    }

    /** @return list<mixed>|Failure */
    private function hit(int $tokens, string ...$options): array|Failure
    {
        self::check($tokens);

        $words = ["RL.$this->algorithm", $this->key, ...$this->limits, 'COST', (string) $tokens, 'POLICY', $this->name, ...$options];

        return $this->client->hit($this->name, $words, $options === ['NEXT'] ? 6 : 5);
    }

    /** @internal */
    public static function check(int $tokens): void
    {
        if ($tokens < 0) { // a refund of what was denied, and so never charged, would open the limit
            throw new \InvalidArgumentException(sprintf('tokens: expected 0 or more, got %d.', $tokens));
        }
    }
}
