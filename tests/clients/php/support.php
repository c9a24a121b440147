<?php
// What symfony.php and symfony_app.php share.

use RatelimitClient\Client;
use RatelimitClient\Symfony\Compound;
use RatelimitClient\Symfony\Limiter;
use RatelimitClient\Symfony\LimiterFactory;

require_once 'Predis/autoload.php';
require_once 'Symfony/Component/RateLimiter/autoload.php';
require_once 'Symfony/Component/HttpFoundation/autoload.php';
require_once getenv('RATELIMIT_PHP').'/autoload.php';

error_reporting(\E_ALL & ~\E_DEPRECATED); // of Debian's predis
set_error_handler(static fn ($level, $text, $file, $line) => error_reporting() & $level ? throw new ErrorException($text, 0, $level, $file, $line) : false);

define('PORT', (int) getenv('RATELIMIT_PORT'));
define('STALLED_PORT', (int) getenv('RATELIMIT_STALLED_PORT'));
define('STALLED_PID', (int) getenv('RATELIMIT_STALLED_PID'));
const TIMEOUT = 0.3;
// The contract says 50 ms; a busy machine may hold a process up for longer. A client that retries takes 10 s and more.
const SLACK = 5;
const PATIENT = 30.0;
define('RUN', bin2hex(random_bytes(4)));

final class Failed extends Exception
{
}

function same(mixed $actual, mixed $expected, string $what = ''): void
{
    if ($actual !== $expected) {
        throw new Failed(trim("$what ".var_export($actual, true).' is not '.var_export($expected, true)));
    }
}

function within(int|float|null $actual, int|float $least, int|float $most, string $what = ''): void
{
    if ($actual === null || $actual < $least || $actual > $most) {
        throw new Failed(trim("$what ".var_export($actual, true)." is not in $least..$most"));
    }
}

function throws(string $class, string $pattern, callable $body): Throwable
{
    try {
        $body();
    } catch (Throwable $error) {
        if (!is_a($error, $class) || !preg_match($pattern, $error->getMessage())) {
            throw new Failed($error::class.": {$error->getMessage()}");
        }

        return $error;
    }
    throw new Failed("nothing was thrown: $pattern");
}

function until(string $what, callable $is): mixed
{
    $end = microtime(true) + PATIENT;
    while (!$value = $is()) {
        microtime(true) < $end || throw new Failed("never happened: $what");
        usleep(10_000);
    }

    return $value;
}

$passed = $failed = 0;
function test(string $name, callable $body): void
{
    global $passed, $failed;
    try {
        $body(RUN.'-'.($passed + $failed));
        ++$passed;
        echo "ok - $name\n";
    } catch (Throwable $error) {
        ++$failed;
        echo "not ok - $name\n    ", $error::class, ": {$error->getMessage()} ({$error->getFile()}:{$error->getLine()})\n";
    }
}

function admin(int $port = PORT): Redis
{
    $redis = new Redis();
    $redis->connect('127.0.0.1', $port);

    return $redis;
}

function client(string $prefix, int $port = PORT, mixed ...$options): Client
{
    return new Client("redis://127.0.0.1:$port", $prefix, ...$options + ['timeout' => PATIENT, 'onError' => static fn () => null, 'logger' => new Psr\Log\NullLogger()]);
}

function limiter(Client $client, string $policy = 'sliding_window', int $limit = 3, string $interval = '1 minute', string $key = 'k', string $id = 'id'): Limiter
{
    return (new LimiterFactory(['id' => $id, 'policy' => $policy, 'limit' => $limit, 'interval' => $interval], $client))->create($key);
}

function bucket(Client $client, int $limit, string $interval, int $amount = 1): Limiter
{
    return (new LimiterFactory(['id' => 'id', 'policy' => 'token_bucket', 'limit' => $limit, 'rate' => ['interval' => $interval, 'amount' => $amount]], $client))->create('k');
}

/** How many are counted now, in a window of its own words. */
function used(string $key, string $algorithm = 'SLIDING', string $window = '60000ms', int $port = PORT): int
{
    [, $limit, $remaining] = admin($port)->rawCommand('RL.PEEK', $algorithm, $key, '1000', $window, 'COST', '0');

    return $limit - $remaining;
}

function accepted(Limiter|Compound $limiter, int $times): array
{
    return array_map(static fn () => $limiter->consume()->isAccepted(), range(1, $times));
}

/** A wire that can be cut, in a process of its own. */
final class Wire
{
    public readonly int $port;
    private $process;
    private array $pipes = [];

    public function __construct(int $port = PORT)
    {
        $this->process = proc_open(['python3', __DIR__.'/../proxy.py', (string) $port], [['pipe', 'r'], ['pipe', 'w'], STDERR], $this->pipes);
        $this->port = (int) fgets($this->pipes[1]);
    }

    public function tell(mixed ...$what): int
    {
        fwrite($this->pipes[0], json_encode($what)."\n");

        return (int) fgets($this->pipes[1]);
    }

    public function close(): void
    {
        array_map(fclose(...), $this->pipes);
        proc_close($this->process);
    }
}

function result(): never
{
    global $passed, $failed;
    echo "\n# $passed passed, $failed failed\n";
    exit($failed === 0 ? 0 : 1);
}
