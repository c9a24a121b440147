<?php
// The loop of cluster.py, through phpredis' and predis' cluster clients.

require 'Predis/autoload.php';

$nodes = array_map(fn($port) => "127.0.0.1:$port", explode(' ', getenv('RATELIMIT_CLUSTER_PORTS')));

// By a script, as phpredis' rawCommand follows neither MOVED nor ASK.
const SCRIPT = <<<'LUA'
    local words = { ARGV[1], #KEYS }
    for _, key in ipairs(KEYS) do words[#words + 1] = key end
    for place = 2, #ARGV do words[#words + 1] = ARGV[place] end
    return redis.call(unpack(words))
    LUA;

// All nodes as seeds: where none of its seeds answers after a redirection, it throws, and the call has been charged.
function phpredis(array $nodes): callable
{
    $cluster = new RedisCluster(null, $nodes);
    return function (string $key, array $words) use ($cluster) {
        [$name, $count] = $words;
        $keys = array_slice($words, 2, (int) $count);
        $cluster->clearLastError();
        $reply = $cluster->eval(SCRIPT, [...$keys, $name, ...array_slice($words, 2 + (int) $count)], (int) $count);
        if ($reply === false) throw new Exception($cluster->getLastError() ?? error_get_last()['message']);
        return $reply;
    };
}

function predis(array $nodes): callable
{
    $cluster = new Predis\Client(array_map(fn($node) => "tcp://$node", $nodes), ['cluster' => 'redis']);
    return function (string $key, array $words) use ($cluster) {
        $command = new Predis\Command\RawCommand($words);
        $command->setSlot((new Predis\Cluster\RedisStrategy())->getSlotByKey($key));
        return $cluster->executeCommand($command);
    };
}

ini_set('display_errors', 'stderr');
$send = $argv[1]($nodes);
while (($line = fgets(STDIN)) !== false) {
    $call = json_decode($line, true);
    try {
        $answer = ['reply' => $send($call['key'], $call['words'])];
    } catch (Throwable $error) {
        $answer = ['error' => get_class($error) . ': ' . $error->getMessage()];
    }
    echo json_encode($answer), "\n";
}
