<?php

namespace RatelimitClient\Symfony;

use RatelimitClient\Client;
use Symfony\Component\OptionsResolver\Options;
use Symfony\Component\OptionsResolver\OptionsResolver;
use Symfony\Component\RateLimiter\LimiterInterface;
use Symfony\Component\RateLimiter\Policy\NoLimiter;

/**
 * In the place of Symfony's RateLimiterFactory, with the same configuration:
 *
 *     $factory = new LimiterFactory(['id' => 'login', 'policy' => 'sliding_window', 'limit' => 5, 'interval' => '15 minutes'], $client);
 *     $factory->create($request->getClientIp())->consume()->ensureAccepted();
 *
 * One customer's limits, or everybody's, without a deploy: RL.POLICY SET symfony:login SLIDING 3 15m.
 */
final class LimiterFactory implements Factory
{
    private const MAX_UNITS = 2 ** 53 - 1;

    private readonly string $name;
    private readonly array $plan;

    public function __construct(array $config, private readonly Client $client)
    {
        $this->plan = self::plan($config);
        $this->name = "$client->prefix:{$config['id']}";
        if (strlen($this->name) > 128) {
            throw new \InvalidArgumentException('id: expected at most 128 bytes, prefix and all');
        }
    }

    public function create(?string $key = null): LimiterInterface
    {
        if ($this->plan === []) {
            return new NoLimiter();
        }
        [$algorithm, $limits, $limit] = $this->plan;

        // With its algorithm: a key of another one would be refused, after a change of the policy until it has ended.
        $key = "$this->name:".strtolower($algorithm).":$key";

        return new Limiter($this->client, $this->name, $key, $algorithm, $limits, $limit);
    }

    /**
     * What the command says of it. Wrong configuration is an exception here, and so when a container is built.
     *
     * @return array{}|array{string, list<string>, int}
     */
    public static function plan(array $config): array
    {
        ['policy' => $policy, 'limit' => $limit, 'interval' => $interval, 'rate' => $rate] = self::options()->resolve($config);
        if ($policy === 'no_limit') {
            return [];
        }
        if ($limit === null || $limit < 1 || $limit > self::MAX_UNITS) {
            throw new \InvalidArgumentException(sprintf('limit of "%s": expected 1 to 2^53-1', $config['id']));
        }
        if ($policy === 'token_bucket') {
            if ($rate['interval'] === null || $rate['amount'] < 1 || $rate['amount'] > self::MAX_UNITS) {
                throw new \InvalidArgumentException(sprintf('rate of "%s": expected an interval, and an amount of 1 to 2^53-1', $config['id']));
            }

            return ['BUCKET', [(string) $limit, (string) $rate['amount'], $rate['interval']], $limit];
        }
        if ($interval === null) {
            throw new \InvalidArgumentException(sprintf('interval of "%s": expected one, such as "15 minutes"', $config['id']));
        }

        // As Symfony's: the window begins with the first hit.
        return $policy === 'fixed_window' ? ['FIXED', [(string) $limit, "$interval@first"], $limit] : ['SLIDING', [(string) $limit, $interval], $limit];
    }

    private static function options(): OptionsResolver
    {
        $duration = fn (Options $options, ?string $interval) => $interval === null ? null : self::duration($interval);
        $options = new OptionsResolver();
        $options->define('id')->required()->allowedTypes('string');
        $options->define('policy')->required()->allowedValues('token_bucket', 'fixed_window', 'sliding_window', 'no_limit');
        $options->define('limit')->default(null)->allowedTypes('int', 'null');
        $options->define('interval')->default(null)->allowedTypes('string', 'null')->normalize($duration);
        $options->define('rate')->default(function (OptionsResolver $rate) use ($duration): void {
            $rate->define('amount')->default(1)->allowedTypes('int');
            $rate->define('interval')->default(null)->allowedTypes('string', 'null')->normalize($duration);
        });

        return $options;
    }

    /** A month is not always as long: counted anew whenever its length changes, a limit would open. So it is refused. */
    private static function duration(string $interval): string
    {
        $lengths = [];
        foreach (['1970-01-01', '1970-02-01', '1972-02-01'] as $day) {
            $from = new \DateTimeImmutable($day, new \DateTimeZone('UTC'));
            try {
                $to = @$from->modify("+$interval");
            } catch (\Exception) { // from PHP 8.3 on
                $to = false;
            }
            $lengths[] = $to === false ? 0 : (int) round(((float) $to->format('U.u') - (float) $from->format('U.u')) * 1000);
        }
        if (min($lengths) < 1) {
            throw new \LogicException(sprintf('interval: expected one such as "15 minutes", got "%s"', $interval));
        }
        if (count(array_unique($lengths)) > 1) {
            throw new \LogicException(sprintf('interval: "%s" is not always as long: expected days instead of months and years, as in "30 days"', $interval));
        }

        return "{$lengths[0]}ms";
    }
}
