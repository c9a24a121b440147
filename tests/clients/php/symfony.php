<?php
// Symfony's limiters over the package of clients/php: each policy, a login, and by the table of failures. But for the package all
// of it is Debian's.

use Predis\Client as Predis;
use RatelimitClient\Client;
use RatelimitClient\Failure;
use RatelimitClient\HitEvent;
use RatelimitClient\Symfony\Answer;
use RatelimitClient\Symfony\Compound;
use RatelimitClient\Symfony\Limiter;
use RatelimitClient\Symfony\LimiterFactory;
use RatelimitClient\Symfony\LoginRateLimiter;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\OptionsResolver\Exception\ExceptionInterface;
use Symfony\Component\RateLimiter\Exception\MaxWaitDurationExceededException;
use Symfony\Component\RateLimiter\Exception\RateLimitExceededException;
use Symfony\Component\RateLimiter\Exception\ReserveNotSupportedException;
use Symfony\Component\RateLimiter\Policy\NoLimiter;

require_once __DIR__.'/support.php';

echo '# phpredis ', phpversion('redis'), ', predis ', Predis::VERSION, ', PHP ', PHP_VERSION, "\n";

foreach (['sliding_window' => 'SLIDING', 'fixed_window' => 'FIXED'] as $policy => $algorithm) {
    test("$policy: accepts its limit, by key, and says when again", static function ($prefix) use ($policy, $algorithm) {
        $client = client($prefix);
        $limiter = limiter($client, $policy);
        $first = $limiter->consume();
        same([$first->isAccepted(), $first->getRemainingTokens(), $first->getLimit(), $first->ensureAccepted()], [true, 2, 3, $first]);
        within($first->getRetryAfter()->getTimestamp() - time(), -1, 1, 'accepted, so now:');
        same(accepted($limiter, 3), [true, true, false]);
        same(limiter($client, $policy, key: 'other')->consume()->isAccepted(), true);
        $denied = $limiter->consume();
        $wait = $denied->getRetryAfter()->getTimestamp() - time();
        within($wait, 55, 61);
        $error = throws(RateLimitExceededException::class, '/./', static fn () => $denied->ensureAccepted());
        same([$error->getRetryAfter(), $error->getLimit()], [$denied->getRetryAfter(), 3]);
        same(used("$prefix:id:".strtolower($algorithm).':k', $algorithm, $policy === 'fixed_window' ? '60000ms@first' : '60000ms'), 3, 'a denied one is not counted:');
        $limiter->reset();
        same($limiter->consume(3)->getRemainingTokens(), 0);
        same($limiter->consume(4)->isAccepted(), false, 'more than the limit:');
        throws(ReserveNotSupportedException::class, '/Limiter/', static fn () => $limiter->reserve());
    });

    test("$policy: a look with 0 tokens counts nothing, and says when more is there", static function ($prefix) use ($policy) {
        $limiter = limiter(client($prefix), $policy);
        same([$limiter->consume(0)->getRemainingTokens(), $limiter->consume(0)->isAccepted()], [3, true]);
        $limiter->consume(3);
        $look = $limiter->consume(0);
        same([$look->isAccepted(), $look->getRemainingTokens()], [true, 0], 'as Symfony has it:');
        within($look->getRetryAfter()->getTimestamp() - time(), 55, 61);
        same($limiter->consume()->isAccepted(), false, 'after a look:');
        throws(InvalidArgumentException::class, '/0 or more/', static fn () => $limiter->consume(-1));
        same($limiter->consume()->isAccepted(), false, 'after a refund that was refused:');
    });

    test("$policy: wait() waits until it would be accepted, and no longer", static function ($prefix) use ($policy) {
        $limiter = limiter(client($prefix), $policy, 1, '2 seconds');
        $limiter->consume();
        $denied = $limiter->consume();
        $begun = microtime(true);
        within($denied->getRetryAfter()->format('U.u') - microtime(true), 0, 3);
        $denied->wait();
        within(microtime(true) - $begun, 1, 2.1 + SLACK);
        same($limiter->consume()->isAccepted(), true);
        $begun = microtime(true);
        $limiter->consume(0); // there may be one again
        limiter(client($prefix), $policy, key: 'fresh')->consume()->wait();
        within(microtime(true) - $begun, 0, SLACK, 'accepted, so at once:');
    });
}

test('fixed_window begins with the first hit, as Symfony\'s', static function ($prefix) {
    $limiter = limiter(client($prefix), 'fixed_window', 1, '1 day');
    $limiter->consume();
    within($limiter->consume()->getRetryAfter()->getTimestamp() - time(), 86_400 - 60, 86_401);
});

test('token_bucket: consume, and a burst that comes back by its rate', static function ($prefix) {
    $limiter = bucket(client($prefix), 10, '1 hour', 10);
    same([$limiter->consume(5)->getRemainingTokens(), $limiter->consume(10)->isAccepted(), $limiter->consume(5)->getRemainingTokens()], [5, false, 0]);
    within($limiter->consume(5)->getRetryAfter()->getTimestamp() - time(), 1700, 1801);
});

test('token_bucket: reserve, one after another, within a time, and never more than a burst', static function ($prefix) {
    $limiter = bucket(client($prefix), 10, '1 minute', 1);
    within($limiter->reserve(10, 300)->getWaitDuration(), 0, 0.1);
    $second = $limiter->reserve(5, 300.0);
    within($second->getWaitDuration(), 290, 300);
    same($second->getRateLimit()->isAccepted(), false, 'not yet:');
    $error = throws(MaxWaitDurationExceededException::class, '/no place for 5/', static fn () => $limiter->reserve(5, 300));
    same($error->getRateLimit()->isAccepted(), false);
    throws(MaxWaitDurationExceededException::class, '/no place/', static fn () => $limiter->reserve(1, 0));
    within($limiter->reserve(5)->getWaitDuration(), 590, 600, 'without a limit of time:');
    throws(InvalidArgumentException::class, '/15 tokens .* is 10/', static fn () => $limiter->reserve(15));
    throws(InvalidArgumentException::class, '/0 or more/', static fn () => $limiter->reserve(-1));
    same($limiter->consume()->isAccepted(), false);
});

test('another policy in the configuration begins anew', static function ($prefix) {
    foreach (['sliding_window', 'fixed_window'] as $policy) {
        same(accepted(limiter(client($prefix), $policy, 1), 2), [true, false], $policy);
    }
    $limiter = bucket(client($prefix), 1, '1 hour');
    same(accepted($limiter, 2), [true, false]);
});

test('no_limit is Symfony\'s own', static function ($prefix) {
    $limiter = (new LimiterFactory(['id' => 'x', 'policy' => 'no_limit'], client($prefix)))->create('k');
    same([$limiter::class, $limiter->consume(1000)->isAccepted()], [NoLimiter::class, true]);
});

test('a policy of the server\'s replaces a limiter\'s limits, without a deploy', static function ($prefix) {
    $admin = admin();
    $admin->rawCommand('RL.POLICY', 'SET', "$prefix:id", 'SLIDING', '1', '10m');
    try {
        $limiter = limiter(client($prefix));
        same(accepted($limiter, 2), [true, false]);
        $denied = $limiter->consume();
        same($denied->getLimit(), 1);
        within($denied->getRetryAfter()->getTimestamp() - time(), 590, 601);
        $admin->rawCommand('RL.POLICY', 'SET', "$prefix:id", 'SLIDING', '0', '10m');
        $never = $limiter->consume();
        same([$never->isAccepted(), $never->getRetryAfter()->format('Y')], [false, '9999']);
        throws(RateLimitExceededException::class, '/./', static fn () => $never->wait());
        $admin->rawCommand('RL.POLICY', 'DEL', "$prefix:id");
        $admin->rawCommand('RL.POLICY', 'SET', "$prefix:id", 'BUCKET', '0', '1', '10m');
        throws(MaxWaitDurationExceededException::class, '/./', static fn () => bucket(client($prefix), 5, '1 second')->reserve());
    } finally {
        $admin->rawCommand('RL.POLICY', 'DEL', "$prefix:id");
    }
});

test('a key that was shut by order is denied, also to a look', static function ($prefix) {
    admin()->rawCommand('RL.BLOCK', "$prefix:id:sliding:k", '30s');
    $limiter = limiter(client($prefix));
    same([$limiter->consume()->isAccepted(), $limiter->consume(0)->isAccepted()], [false, false]);
    within($limiter->consume()->getRetryAfter()->getTimestamp() - time(), 20, 31);
});

test('several limiters: of all or of none, and the one that denies is told', static function ($prefix) {
    $client = client($prefix);
    $minute = limiter($client, limit: 4, id: 'minute');
    $day = limiter($client, 'fixed_window', 6, '1 day', id: 'day');
    $free = (new LimiterFactory(['id' => 'x', 'policy' => 'no_limit'], $client))->create('k');
    $both = new Compound([$minute, $free, $day]);
    same($both->consume(3)->getRemainingTokens(), 1);
    $denied = $both->consume(2);
    same([$denied->isAccepted(), $denied->getLimit(), used("$prefix:day:fixed:k", 'FIXED', '86400000ms@first')], [false, 4, 3]);
    same([$both->consume(0)->isAccepted(), $both->consume(1)->isAccepted(), $both->consume(0)->getRemainingTokens()], [true, true, 0]);
    within($both->consume(0)->getRetryAfter()->getTimestamp() - time(), 55, 61);
    throws(InvalidArgumentException::class, '/0 or more/', static fn () => $both->consume(-1));
    throws(ReserveNotSupportedException::class, '/Compound/', static fn () => $both->reserve());
    $both->reset();
    same([$both->consume(4)->isAccepted(), used("$prefix:minute:sliding:k")], [true, 4]);
    same((new Compound([$free]))->consume()->isAccepted(), true);
    (new Compound([$free]))->reset();
});

test('mistakes are told when it is made', static function ($prefix) {
    $client = client($prefix);
    $factory = static fn (array $config) => static fn () => new LimiterFactory($config + ['id' => 'x', 'policy' => 'sliding_window', 'limit' => 5, 'interval' => '1 minute'], $client);
    throws(ExceptionInterface::class, '/"leaky"/', $factory(['policy' => 'leaky']));
    throws(ExceptionInterface::class, '/"policy"/', static fn () => new LimiterFactory(['id' => 'x'], $client));
    throws(ExceptionInterface::class, '/"intervall"/', $factory(['intervall' => '1 minute']));
    throws(ExceptionInterface::class, '/"limit"/', $factory(['limit' => '5']));
    throws(InvalidArgumentException::class, '/limit of "x"/', $factory(['limit' => 0]));
    throws(InvalidArgumentException::class, '/rate of "x"/', $factory(['policy' => 'token_bucket']));
    throws(InvalidArgumentException::class, '/rate of "x"/', $factory(['policy' => 'token_bucket', 'rate' => ['interval' => '1 minute', 'amount' => 0]]));
    throws(InvalidArgumentException::class, '/interval of "x"/', static fn () => new LimiterFactory(['id' => 'x', 'policy' => 'fixed_window', 'limit' => 5], $client));
    throws(LogicException::class, '/got "1 minut"/', $factory(['interval' => '1 minut']));
    throws(LogicException::class, '/got "0 seconds"/', $factory(['interval' => '0 seconds']));
    throws(LogicException::class, '/"1 month" is not always as long/', $factory(['interval' => '1 month']));
    throws(LogicException::class, '/"1 year" is not always as long/', $factory(['interval' => '1 year']));
    $factory(['interval' => '30 days'])();
    throws(InvalidArgumentException::class, '/at most 128 bytes/', $factory(['id' => str_repeat('x', 128)]));
    throws(InvalidArgumentException::class, '/open or closed/', static fn () => client($prefix, unavailable: 'maybe'));
    throws(InvalidArgumentException::class, '/above 0/', static fn () => client($prefix, timeout: 0));
    throws(InvalidArgumentException::class, '/got stdClass/', static fn () => new Client(new stdClass()));
    throws(InvalidArgumentException::class, '/expected an address/', static fn () => new Client('localhost:6379'));
    throws(InvalidArgumentException::class, '/expected an address/', static fn () => new Client('http://localhost'));
    throws(InvalidArgumentException::class, '/number of a database/', static fn () => new Client('redis://localhost/first'));
    throws(InvalidArgumentException::class, '/Sentinel/', static fn () => new Client('redis://localhost?redis_sentinel=mymaster'));
    throws(InvalidArgumentException::class, '/has not been connected/', static fn () => new Client(new Redis()));
    throws(InvalidArgumentException::class, '/clusters/', static fn () => new Client(new Predis(['tcp://127.0.0.1:1', 'tcp://127.0.0.1:2'], ['cluster' => 'redis'])));
    $limiter = limiter($client);
    throws(InvalidArgumentException::class, '/1 to 16/', static fn () => new Compound([]));
    throws(InvalidArgumentException::class, '/a key of its own/', static fn () => new Compound([$limiter, $limiter]));
    throws(InvalidArgumentException::class, '/one client/', static fn () => new Compound([$limiter, limiter(client($prefix), key: 'other')]));
});

test('bytes of a stranger\'s are a key', static function ($prefix) {
    $client = client($prefix);
    foreach (["\xFF\xFE\r\n\$3\0", str_repeat('a', 100_000), '', '0', '{*}'] as $key) {
        same(accepted(limiter($client, limit: 1, key: $key), 2), [true, false], substr($key, 0, 5));
    }
});

test('a password, a database, a socket and TLS are taken from the client or the address', static function ($prefix) {
    $dir = sys_get_temp_dir()."/ratelimit-php.$prefix";
    mkdir($dir);
    file_put_contents("$dir/openssl.cnf", "[req]\ndistinguished_name = name\nx509_extensions = ext\n[name]\n[ext]\nsubjectAltName = DNS:localhost,IP:127.0.0.1\n");
    $key = openssl_pkey_new(['private_key_bits' => 2048]);
    $request = openssl_csr_new(['commonName' => 'localhost'], $key, ['config' => "$dir/openssl.cnf"]);
    openssl_x509_export(openssl_csr_sign($request, null, $key, 1, ['config' => "$dir/openssl.cnf", 'digest_alg' => 'sha256', 'x509_extensions' => 'ext']), $certificate);
    openssl_pkey_export($key, $private);
    file_put_contents("$dir/cert", $certificate);
    file_put_contents("$dir/key", $private);
    $free = static function (): int {
        $probe = stream_socket_server('tcp://127.0.0.1:0');

        return (int) substr(strrchr(stream_socket_get_name($probe, false), ':'), 1);
    };
    [$plain, $secure] = [$free(), $free()];
    $server = proc_open([getenv('RATELIMIT_SERVER'), '--port', (string) $plain, '--tls-port', (string) $secure, '--tls-cert-file', "$dir/cert",
        '--tls-key-file', "$dir/key", '--tls-ca-cert-file', "$dir/cert", '--tls-auth-clients', 'no', '--save', '', '--requirepass', 's3cret@',
        '--unixsocket', "$dir/socket", '--dir', $dir, '--loadmodule', getenv('RATELIMIT_MODULE')], [1 => ['file', "$dir/log", 'w']], $_);
    try {
        $own = until('a server with TLS', static function () use ($plain) {
            try {
                $own = admin($plain);
                $own->auth('s3cret@');
                $own->select(3);

                return $own;
            } catch (RedisException) {
                return false;
            }
        });
        $tls = ['cafile' => "$dir/cert"];
        $overTls = new Redis();
        $overTls->connect('tls://localhost', $secure, PATIENT, null, 0, PATIENT, ['stream' => $tls]);
        $overTls->auth(['default', 's3cret@']);
        $overTls->select(3);
        $overSocket = new Redis();
        $overSocket->connect("$dir/socket");
        $overSocket->auth('s3cret@');
        $overSocket->select(3);
        $clients = [
            'phpredis' => $own,
            'phpredis over TLS' => $overTls,
            'phpredis over a socket' => $overSocket,
            'predis' => new Predis(['host' => '127.0.0.1', 'port' => $plain, 'password' => 's3cret@', 'database' => 3]),
            'predis over TLS' => new Predis(['scheme' => 'tls', 'host' => 'localhost', 'port' => $secure, 'password' => 's3cret@', 'database' => 3, 'ssl' => $tls]),
            'predis over a socket' => new Predis(['scheme' => 'unix', 'path' => "$dir/socket", 'password' => 's3cret@', 'database' => 3]),
            'an address' => "redis://:s3cret%40@127.0.0.1:$plain/3",
            'an address with a password alone' => "redis://s3cret%40@localhost:$plain?dbindex=3",
            'an address with a user and TLS' => "rediss://default:s3cret%40@localhost:$secure/3",
            'TLS to an address' => "rediss://:s3cret%40@127.0.0.1:$secure/3",
            'an address of a socket' => "unix://:s3cret%40@$dir/socket?dbindex=3",
            'Symfony\'s address of a socket' => "redis://s3cret%40@$dir/socket?dbindex=3",
        ];
        foreach ($clients as $name => $client) {
            $limiter = limiter(new Client($client, $prefix, PATIENT, tls: $tls, logger: new Psr\Log\NullLogger()), limit: count($clients));
            $answer = $limiter->consume();
            same([$answer->error?->getMessage(), $answer->isAccepted()], [null, true], $name);
        }
        same($own->rawCommand('RL.PEEK', 'SLIDING', "$prefix:id:sliding:k", '1000', '60000ms', 'COST', '0')[2], 1000 - count($clients));
        foreach (["redis://127.0.0.1:$plain" => '/NOAUTH/', "redis://wrong@127.0.0.1:$plain" => '/WRONGPASS/', "rediss://127.0.0.2:$secure" => '/TLS/', "rediss://localhost:$plain" => '/./'] as $address => $pattern) {
            $answer = limiter(new Client($address, $prefix, 2.0, tls: $tls, logger: new Psr\Log\NullLogger()))->consume();
            same([$answer->isAccepted(), preg_match($pattern, (string) $answer->error?->getMessage())], [true, 1], (string) $answer->error?->getMessage());
        }
        $answer = limiter(new Client("rediss://localhost:$secure", $prefix, PATIENT, logger: new Psr\Log\NullLogger()))->consume();
        same([$answer->error?->reason, preg_match('/certificate/', (string) $answer->error?->getMessage())], ['connection', 1], (string) $answer->error?->getMessage());
    } finally {
        proc_terminate($server, 9);
        proc_close($server);
        array_map(unlink(...), glob("$dir/*"));
        rmdir($dir);
    }
});

$wire = new Wire();
foreach (json_decode(file_get_contents(__DIR__.'/../failures.json'), true)['faults'] as $i => $fault) {
    foreach (['open', 'closed'] as $unavailable) {
        test("{$fault['fault']} ".json_encode($fault['bytes'] ?? '').": $unavailable", static function ($prefix) use ($wire, $fault, $unavailable) {
            $errors = $events = [];
            $isFromStart = in_array($fault['fault'], ['refuse', 'silent'], true);
            $wire->tell(refuses: $fault['fault'] === 'refuse', silent: $fault['fault'] === 'silent');
            try {
                $client = client($prefix, $wire->port, timeout: $fault['failed'] ? TIMEOUT : PATIENT, unavailable: $unavailable,
                    onError: static function (Failure $error) use (&$errors) { $errors[] = $error; },
                    onHit: static function (HitEvent $event) use (&$events) { $events[] = $event; });
                $of = static fn (string $key) => limiter($client, 'fixed_window', 1000, '1 day', $key);
                $up = static fn (string $key) => until('an answer', static fn () => ($answer = $of($key)->consume())->error === null ? $answer : null);
                if (!$isFromStart) {
                    $up('warm');
                    $wire->tell(next: $fault);
                }
                $errors = $events = [];
                $begun = microtime(true);
                $answer = $of('k')->consume();
                within(microtime(true) - $begun, 0, TIMEOUT + SLACK);
                until('the fault', static fn () => $wire->tell(late: true) === 0);
                same($answer->error !== null, $fault['failed'], (string) $answer->error?->getMessage());
                same($answer->isAccepted(), !$fault['failed'] || $unavailable === 'open');
                same(count($errors), $fault['failed'] ? 1 : 0);
                same(array_column($events, 'outcome'), [$fault['failed'] ? $unavailable : 'allowed']);
                same(in_array($events[0]->reason, $fault['failed'] ? (array) ($fault['reason'] ?? ['timeout', 'connection', 'server', 'refused']) : [null], true), true);
                $wire->tell(refuses: false, silent: false);
                // Sound again: hits are counted, and each has its own answer. (A busy machine may be late once more.)
                $up('sound');
                $used = static fn () => used("$prefix:id:fixed:k", 'FIXED', '86400000ms@first');
                until("{$fault['charged']} charged", static fn () => $used() === $fault['charged']);
                same($up('k')->getRemainingTokens(), 1000 - $used());
            } finally {
                $wire->tell(refuses: false, silent: false);
            }
        });
    }
}
$wire->close();

test('a server that is stopped: each in time, a bucket too, one line in the log', static function ($prefix) {
    $log = tempnam(sys_get_temp_dir(), 'ratelimit');
    $before = ini_set('error_log', $log);
    $client = new Client('redis://127.0.0.1:'.STALLED_PORT, $prefix, TIMEOUT, 'closed');
    posix_kill(STALLED_PID, SIGSTOP);
    try {
        $begun = microtime(true);
        same(accepted(limiter($client), 4), [false, false, false, false]);
        throws(MaxWaitDurationExceededException::class, '/./', static fn () => bucket($client, 5, '1 second')->reserve(1, 60));
        same((new Compound([limiter($client)]))->consume()->isAccepted(), false);
        $seconds = microtime(true) - $begun;
        within($seconds, 0, 6 * TIMEOUT + SLACK);
        within(count(file($log)), 1, $seconds + 1, file_get_contents($log));
        throws(Failure::class, '/timeout/', static fn () => limiter($client)->reset());
        $open = bucket(client($prefix, STALLED_PORT, timeout: TIMEOUT), 5, '1 second')->reserve(1, 60);
        same([$open->getRateLimit()->isAccepted(), $open->getWaitDuration() < 1], [true, true]);
    } finally {
        posix_kill(STALLED_PID, SIGCONT);
        ini_set('error_log', $before);
    }
    same(preg_match('/rate limiter ".*:id": timeout: no answer/', file_get_contents($log)), 1, file_get_contents($log));
    unlink($log);
});

test('one line a second of a process without APCu, with how many it stands for', static function () {
    $log = tempnam(sys_get_temp_dir(), 'ratelimit');
    $code = 'require "Symfony/Component/RateLimiter/autoload.php"; require getenv("RATELIMIT_PHP")."/autoload.php";
        $limiter = (new RatelimitClient\Symfony\LimiterFactory(["id" => "x", "policy" => "sliding_window", "limit" => 1, "interval" => "1 minute"],
            new RatelimitClient\Client("redis://127.0.0.1:1")))->create();
        for ($begun = microtime(true), $hits = 0; count(file(ini_get("error_log"))) < 2; ++$hits) { $limiter->consume(); usleep(1000); }
        echo json_encode([$hits, microtime(true) - $begun]);';
    $options = '-d apc.enable_cli=0 -d error_reporting=8191 -d log_errors=1 -d error_log='.escapeshellarg($log);
    [$hits, $seconds] = json_decode(shell_exec(PHP_BINARY." $options -r ".escapeshellarg($code)));
    within($seconds, 0.99, PATIENT, 'the second line came after');
    $line = file($log)[1];
    same(preg_match('/rate limiter "symfony:x": connection: [^(]*(?:\(and (\d+) more since the last line\))?$/', $line, $more), 1, $line);
    same((int) ($more[1] ?? 0), $hits - 2);
    unlink($log);
});

if (function_exists('apcu_enabled') && apcu_enabled()) {
    test('one line a second also where each request begins anew, as in PHP-FPM', static function ($prefix) {
        $log = tempnam(sys_get_temp_dir(), 'ratelimit');
        $before = ini_set('error_log', $log);
        $begin = static function () use ($prefix) {
            (new ReflectionProperty(RatelimitClient\Report::class, 'nextLine'))->setValue(null, 0);
            limiter(new Client('redis://127.0.0.1:1', $prefix))->consume();
        };
        $begun = microtime(true);
        until('a line', static fn () => $begin() ?? file($log));
        for ($i = 0; $i < 50; ++$i) {
            $begin();
        }
        ini_set('error_log', $before);
        within(count(file($log)), 1, microtime(true) - $begun + 1, file_get_contents($log));
        unlink($log);
    });
} else {
    echo "SKIPPED: clients: one line a second of all of PHP-FPM's processes (APCu is missing: apt-get install php-apcu)\n";
}

test('a hook that throws changes no hit', static function ($prefix) {
    $throwing = static fn () => throw new Exception('mine');
    $before = ini_set('error_log', '/dev/null');
    same(limiter(client($prefix, onHit: $throwing))->consume()->isAccepted(), true);
    same(limiter(client($prefix, 1, onHit: $throwing, onError: $throwing))->consume()->isAccepted(), true);
    ini_set('error_log', $before);
});

test('a connection that the server closed while nobody asked is seen, and the hit is counted', static function ($prefix) {
    $limiter = limiter(client($prefix));
    $limiter->consume();
    admin()->rawCommand('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    same([$limiter->consume()->error, used("$prefix:id:sliding:k")], [null, 2]);
});

test('after a fork each process has its own connection', static function ($prefix) {
    $limiter = limiter(client($prefix), limit: 1000);
    $limiter->consume();
    $children = [];
    for ($i = 0; $i < 4; ++$i) {
        if (($pid = pcntl_fork()) === 0) {
            for ($hit = 0, $isGood = true; $hit < 50; ++$hit) {
                $isGood = $isGood && $limiter->consume()->error === null;
            }
            posix_kill(getmypid(), $isGood ? SIGKILL : SIGTERM); // no destructor of the parent's things
        }
        $children[] = $pid;
    }
    for ($hit = 0; $hit < 50; ++$hit) {
        same($limiter->consume()->error, null);
    }
    foreach ($children as $pid) {
        pcntl_waitpid($pid, $status);
        same(pcntl_wtermsig($status), SIGKILL);
    }
    same(used("$prefix:id:sliding:k"), 251);
});

test('a login: a success forgets its account\'s tries, and gives the address back its own one alone', static function ($prefix) {
    $client = client($prefix);
    $login = new LoginRateLimiter($client,
        new LimiterFactory(['id' => 'address', 'policy' => 'fixed_window', 'limit' => 5, 'interval' => '1 minute'], $client),
        new LimiterFactory(['id' => 'account', 'policy' => 'sliding_window', 'limit' => 3, 'interval' => '1 minute'], $client), 'secret');
    $of = static function (string $name, string $address = '192.0.2.1'): Request {
        $request = Request::create('/login', 'POST', server: ['REMOTE_ADDR' => $address]);
        $request->attributes->set('_security.last_username', $name);

        return $request;
    };
    $try = static fn (Request $request) => $login->consume($request)->isAccepted();
    same(array_map($try, [$of('ann'), $of('ANN'), $of('ann'), $of('ann')]), [true, true, true, false]);
    // Two more, as what was denied was not counted: one of them succeeds, which opens the address for itself alone.
    $good = $of('bob');
    same($try($good), true);
    $login->reset($good);
    $login->reset($good);
    same([$try($of('eve')), $try($of('eve')), $try($of('eve'))], [true, true, false]);
    same(used("$prefix:address:fixed:192.0.2.1", 'FIXED', '60000ms@first'), 5);
    $denied = $of('bob');
    same($try($denied), false);
    $login->reset($denied);
    same(used("$prefix:address:fixed:192.0.2.1", 'FIXED', '60000ms@first'), 5, 'what was denied gives nothing back:');
    same(array_filter(admin()->keys("$prefix:account:*"), static fn ($key) => str_contains($key, 'ann')), [], 'names in keys:');
    $try($of('ann', '2001:db8::1'));
    $try($of('ann', '2001:db8::2'));
    $try($of('ann', '::ffff:192.0.2.7'));
    $keys = admin()->keys("$prefix:address:*");
    sort($keys);
    same($keys, ["$prefix:address:fixed:192.0.2.1", "$prefix:address:fixed:192.0.2.7", "$prefix:address:fixed:2001:db8::/64"]);
});

test('what the README shows', static function ($prefix) {
    preg_match_all('/^```php\n(.*?)^```/ms', file_get_contents(__DIR__.'/../../../clients/php/README.md'), $blocks);
    same(count($blocks[1]), 2);
    $request = Request::create('/login', server: ['REMOTE_ADDR' => $prefix]);
    $shown = str_replace('redis://localhost:6379', 'redis://127.0.0.1:'.PORT, $blocks[1][1]);
    for ($i = 0; $i < 5; ++$i) {
        eval($shown);
    }
    throws(RateLimitExceededException::class, '/./', static function () use ($shown, $request) { eval($shown); });
});

result();
