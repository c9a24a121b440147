<?php

namespace RatelimitClient\Symfony;

use RatelimitClient\Failure;
use Symfony\Component\RateLimiter\Exception\ReserveNotSupportedException;
use Symfony\Component\RateLimiter\LimiterInterface;
use Symfony\Component\RateLimiter\Policy\NoLimiter;
use Symfony\Component\RateLimiter\RateLimit;
use Symfony\Component\RateLimiter\Reservation;

/**
 * Several limiters in one decision: tokens are taken of all, or of none. (Symfony's CompoundLimiter takes of one after another,
 * and keeps what the first have given where a later one denies.)
 */
final class Compound implements LimiterInterface
{
    /** @var list<Limiter> */
    private readonly array $limiters;

    /** @param LimiterInterface[] $limiters of LimiterFactory, up to 16 */
    public function __construct(array $limiters)
    {
        $bounded = array_values(array_filter($limiters, fn ($limiter) => !$limiter instanceof NoLimiter));
        foreach ($bounded as $limiter) {
            if (!$limiter instanceof Limiter || $limiter->client !== $bounded[0]->client) {
                throw new \InvalidArgumentException(sprintf('limiters: expected those of LimiterFactory with one client, got %s', get_debug_type($limiter)));
            }
        }
        if ($limiters === [] || count($bounded) > 16 || count(array_unique(array_column($bounded, 'key'))) < count($bounded)) {
            throw new \InvalidArgumentException('limiters: expected 1 to 16, each with a key of its own');
        }
        $this->limiters = $bounded;
    }

    public function consume(int $tokens = 1): RateLimit
    {
        return $this->charge($tokens)[0];
    }

    public function reserve(int $tokens = 1, ?float $maxTime = null): Reservation
    {
        throw new ReserveNotSupportedException(__CLASS__);
    }

    public function reset(): void
    {
        if ($this->limiters !== []) {
            $this->limiters[0]->client->ask(['DEL', ...array_column($this->limiters, 'key')]);
        }
    }

    /**
     * @internal
     *
     * @return array{RateLimit, int} and when it was charged: 0 where it was not
     */
    public function charge(int $tokens, string ...$options): array
    {
        Limiter::check($tokens);
        if ($this->limiters === []) {
            return [(new NoLimiter())->consume($tokens), 0];
        }
        $words = ['RL.ALL', (string) count($this->limiters), ...array_column($this->limiters, 'key')];
        foreach ($this->limiters as $limiter) {
            array_push($words, ...$limiter->clause($tokens));
        }
        $client = $this->limiters[0]->client;
        if ($tokens === 0) {
            $options[] = 'NEXT';
        }
        $numbers = $client->hit(implode('+', array_column($this->limiters, 'name')), [...$words, ...$options], $tokens === 0 ? 6 : 5);
        if ($numbers instanceof Failure) {
            return [Answer::without($numbers, $client->isOpen, min(array_column($this->limiters, 'limit'))), 0];
        }
        $isLook = $tokens === 0 && $numbers[0] === 1;
        $stamp = $options === ['STAMP'] ? end($numbers) : 0;

        return [Answer::of($numbers, $isLook ? ($numbers[2] > 0 ? 0 : $numbers[5]) : null), $stamp];
    }
}
