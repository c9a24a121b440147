<?php

use RatelimitClient\Client;
use RatelimitClient\Symfony\LimiterFactory;
use Symfony\Component\RateLimiter\LimiterInterface;
use Symfony\Component\RateLimiter\Policy\Rate;
use Symfony\Component\RateLimiter\Util\TimeUtil;

require_once 'Predis/autoload.php';
require_once 'Symfony/Component/RateLimiter/autoload.php';
require_once getenv('RATELIMIT_PHP').'/autoload.php';
error_reporting(\E_ALL & ~\E_DEPRECATED); // of Debian's predis

/** In the place of Symfony's constructors. A storage, of which each of its tests has one, is a prefix of keys. */
final class Ours
{
    private static WeakMap $clients;

    public static function factory(array $config, ?object $storage = null): LimiterFactory
    {
        self::$clients ??= new WeakMap();
        $storage ??= new stdClass();
        self::$clients[$storage] ??= new Client('redis://127.0.0.1:'.getenv('RATELIMIT_PORT'), bin2hex(random_bytes(8)), timeout: 30.0);

        return new LimiterFactory($config, self::$clients[$storage]);
    }

    public static function fixed(string $id, int $limit, DateInterval $interval, object $storage): LimiterInterface
    {
        return self::window('fixed_window', $id, $limit, $interval, $storage);
    }

    public static function sliding(string $id, int $limit, DateInterval $interval, object $storage): LimiterInterface
    {
        return self::window('sliding_window', $id, $limit, $interval, $storage);
    }

    public static function bucket(string $id, int $burst, Rate $rate, object $storage): LimiterInterface
    {
        [$interval, $amount] = explode('-', (string) $rate, 2) + [1 => '1'];
        $rate = ['interval' => self::seconds(new DateInterval($interval)), 'amount' => (int) $amount];

        return self::factory(['id' => $id, 'policy' => 'token_bucket', 'limit' => $burst, 'rate' => $rate], $storage)->create();
    }

    private static function window(string $policy, string $id, int $limit, DateInterval $interval, object $storage): LimiterInterface
    {
        return self::factory(['id' => $id, 'policy' => $policy, 'limit' => $limit, 'interval' => self::seconds($interval)], $storage)->create();
    }

    private static function seconds(DateInterval $interval): string
    {
        return TimeUtil::dateIntervalToSeconds($interval).' seconds';
    }
}
