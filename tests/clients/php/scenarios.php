<?php
// The scenarios, a pipeline and MULTI through phpredis and predis. Both are Debian's.
//
// To know: phpredis answers false where Redis answers nil, and where it refuses (then getLastError tells); rawCommand puts no
// prefix of OPT_PREFIX before keys. predis' executeRaw has the text of an error as its reply.

require 'Predis/autoload.php';

final class Refusal { public function __construct(public string $message) {} }

function phpredis(): array
{
    $client = new Redis();
    $client->connect('127.0.0.1', (int) getenv('RATELIMIT_PORT'));
    $client->setOption(Redis::OPT_REPLY_LITERAL, true); // "OK" rather than true
    return [
        'send' => function (array $args) use ($client) {
            $client->clearLastError();
            try {
                $reply = $client->rawCommand(...$args);
            } catch (RedisException $error) {
                return new Refusal($error->getMessage());
            }
            if ($reply === false) return $client->getLastError() === null ? null : new Refusal($client->getLastError());
            return $reply;
        },
        'many' => function (array $commands, bool $multi) use ($client) {
            $queue = $client->multi($multi ? Redis::MULTI : Redis::PIPELINE);
            foreach ($commands as $args) $queue->rawCommand(...$args);
            return $queue->exec();
        },
    ];
}

function predis(): array
{
    $client = new Predis\Client(['host' => '127.0.0.1', 'port' => (int) getenv('RATELIMIT_PORT')]);
    return [
        'send' => function (array $args) use ($client) {
            $reply = $client->executeRaw($args, $isError);
            return $isError ? new Refusal($reply) : $reply;
        },
        'many' => function (array $commands, bool $multi) use ($client) {
            $queue = $multi ? $client->transaction() : $client->pipeline();
            foreach ($commands as $args) {
                $command = new Predis\Command\RawCommand($args);
                $queue->executeCommand($command);
            }
            return $queue->execute();
        },
    ];
}

function same($actual, $expected, string $path): void
{
    if (is_array($expected)) {
        if (!is_array($actual) || count($actual) !== count($expected)) throw new Exception("$path: " . json_encode($actual));
        foreach ($expected as $i => $item) same($actual[$i], $item, "{$path}[$i]");
    } elseif (is_string($expected) && preg_match('/^(\d+)\.\.(\d+)$/', $expected, $bounds)) {
        if (!is_int($actual) || $actual < (int) $bounds[1] || $actual > (int) $bounds[2]) throw new Exception("$path: " . json_encode($actual) . " is not in $expected");
    } elseif ($expected === null && $actual === false) {
        return; // phpredis' nil
    } elseif ($actual !== $expected) {
        throw new Exception("$path: " . json_encode($actual) . ' is not ' . json_encode($expected));
    }
}

function run(callable $send, array $step, string $prefix): void
{
    $args = array_map(fn($word) => implode($prefix, explode('$', $word, 2)), $step['send']);
    $said = implode(' ', $args);
    $reply = $send($args);
    if (isset($step['error'])) {
        if (!$reply instanceof Refusal || !str_starts_with($reply->message, $step['error'])) throw new Exception("$said: " . json_encode($reply));
    } elseif ($reply instanceof Refusal) {
        throw new Exception("$said: $reply->message");
    } elseif (isset($step['map'])) {
        foreach ($step['map'] as $name => $value) {
            $at = array_search($name, $reply, true);
            same($at === false ? null : $reply[$at + 1], $value, "$said: $name");
        }
    } else {
        same($reply, $step['reply'], $said);
    }
}

$passed = $failed = 0;
function test(string $name, callable $body): void
{
    global $passed, $failed;
    try {
        $body();
        $passed++;
        echo "ok - $name\n";
    } catch (Throwable $error) {
        $failed++;
        echo "not ok - $name\n    {$error->getMessage()}\n";
    }
}

$scenarios = json_decode(file_get_contents(getenv('RATELIMIT_SCENARIOS')), true, flags: JSON_THROW_ON_ERROR)['scenarios'];
foreach (['phpredis' => phpredis(), 'predis' => predis()] as $name => $client) {
    foreach ($scenarios as $scenario) {
        test("$name: {$scenario['name']}", function () use ($client, $scenario, $name) {
            foreach ($scenario['steps'] as $step) run($client['send'], $step, "$name:");
        });
    }
    foreach ([false, true] as $multi) {
        test("$name: " . ($multi ? 'MULTI' : 'a pipeline') . ' is answered in order', function () use ($client, $multi, $name) {
            $replies = $client['many'](array_fill(0, 6, ['RL.FIXED', "$name:many" . (int) $multi, '5', '3650d']), $multi);
            $seen = array_map(fn($five) => [$five[0], $five[2]], $replies);
            same($seen, [[1, 4], [1, 3], [1, 2], [1, 1], [1, 0], [0, 0]], 'replies');
        });
    }
}
echo "\n# $passed passed, $failed failed\n";
exit($failed === 0 ? 0 : 1);
