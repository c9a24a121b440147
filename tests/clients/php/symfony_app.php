<?php
// Symfony's limiters and its login in an application of FrameworkBundle and SecurityBundle that PHP's own server serves.

use RatelimitClient\Symfony\Answer;

require_once __DIR__.'/support.php';

/** The application, behind PHP's own server. */
final class Served
{
    public readonly string $dir;
    private readonly int $port;
    private $process;

    public function __construct(string $prefix, string ...$env)
    {
        $this->dir = sys_get_temp_dir()."/ratelimit-php.$prefix";
        mkdir($this->dir);
        $probe = stream_socket_server('tcp://127.0.0.1:0');
        $this->port = (int) substr(strrchr(stream_socket_get_name($probe, false), ':'), 1);
        fclose($probe);
        $env += ['APP_DIR' => $this->dir, 'APP_ENV' => 'prod', 'APP_PREFIX' => $prefix, 'REDIS_URL' => 'redis://127.0.0.1:'.PORT,
            'PHP_CLI_SERVER_WORKERS' => '4', 'RATELIMIT_PHP' => getenv('RATELIMIT_PHP'), 'PATH' => getenv('PATH'), 'TMPDIR' => $this->dir];
        $this->process = proc_open([PHP_BINARY, '-d', 'error_reporting=8191', '-S', "127.0.0.1:$this->port", __DIR__.'/app/index.php'],
            [1 => ['file', "$this->dir/out", 'w'], 2 => ['file', "$this->dir/log", 'w']], $_, null, $env);
        until('a server of PHP\'s', fn () => @fsockopen('127.0.0.1', $this->port));
    }

    /** @return list<array{int, array<string, string>, mixed}> status, headers, what the body says */
    public function send(int $times, string $path, array $json = null, string $address = '192.0.2.1'): array
    {
        $body = $json === null ? '' : json_encode($json);
        $request = ($json === null ? 'GET' : 'POST')." $path HTTP/1.0\r\nHost: localhost\r\nX-Forwarded-For: $address\r\nContent-Type: application/json\r\nContent-Length: ".strlen($body)."\r\n\r\n$body";
        $sockets = array_map(fn () => stream_socket_client("tcp://127.0.0.1:$this->port", timeout: PATIENT), range(1, $times));
        array_map(static fn ($socket) => fwrite($socket, $request), $sockets);

        return array_map(static function ($socket) {
            stream_set_timeout($socket, (int) PATIENT);
            [$head, $body] = explode("\r\n\r\n", stream_get_contents($socket), 2) + ['', ''];
            $lines = explode("\r\n", $head);
            $headers = [];
            foreach (array_slice($lines, 1) as $line) {
                [$name, $value] = explode(':', $line, 2);
                $headers[strtolower($name)] = trim($value);
            }

            return [(int) explode(' ', $lines[0].' ')[1], $headers, json_decode($body, true)];
        }, $sockets);
    }

    public function stop(): void
    {
        // Its workers are its children.
        $children = explode(' ', trim((string) @file_get_contents('/proc/'.proc_get_status($this->process)['pid'].'/task/'.proc_get_status($this->process)['pid'].'/children')));
        array_map(static fn ($pid) => posix_kill((int) $pid, SIGKILL), array_filter($children));
        proc_terminate($this->process, 9);
        proc_close($this->process);
        foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($this->dir, FilesystemIterator::SKIP_DOTS), RecursiveIteratorIterator::CHILD_FIRST) as $file) {
            $file->isDir() ? rmdir($file) : unlink($file);
        }
        rmdir($this->dir);
    }
}

$status = static fn (array $answers) => array_count_values(array_column($answers, 0));
$welcome = ['username' => 'ann', 'password' => 'correct horse'];
$wrong = ['username' => 'ann', 'password' => 'wrong'];

test('an application of Symfony\'s: forty at once, and its limit is its limit', static function ($prefix) use ($status) {
    $app = new Served($prefix);
    try {
        $app->send(1, '/api', address: '198.51.100.9'); // the container is built
        $answers = $app->send(40, '/api');
        same([$status($answers)[200] ?? 0, $status($answers)[429] ?? 0], [5, 35], file_get_contents("$app->dir/log"));
        $denied = array_values(array_filter($answers, static fn ($answer) => $answer[0] === 429))[0];
        within((int) $denied[1]['retry-after'], 500, 601);
        same([$denied[1]['x-ratelimit-limit'], $denied[2]], ['5', Answer::class]);
        same($status($app->send(1, '/api', address: '192.0.2.2')), [200 => 1]);
    } finally {
        $app->stop();
    }
});

test('... jobs that reserve act at the rate, whichever process they are in', static function ($prefix) {
    $app = new Served($prefix);
    try {
        $acted = array_column($app->send(12, '/job'), 2);
        sort($acted);
        foreach ($acted as $i => $at) {
            // The i-th place is no earlier than i x 50 ms after the first, but for how exactly a process sleeps.
            within($at - $acted[0], $i * 0.05 - 0.045, PATIENT);
        }
        same(count($acted), 12);
    } finally {
        $app->stop();
    }
});

test('... login_throttling: three wrong passwords, and a success of one\'s own opens no other account', static function ($prefix) use ($status, $welcome, $wrong) {
    $app = new Served($prefix);
    try {
        same($status($app->send(1, '/login', $welcome)), [200 => 1], file_get_contents("$app->dir/log"));
        $answers = array_merge(...array_map(static fn () => $app->send(1, '/login', $wrong), range(1, 4)));
        $said = array_map(static fn ($answer) => preg_replace('/ in 1[01] minutes/', ' in some minutes', $answer[2]['error']), $answers);
        same($said, ['Invalid credentials.', 'Invalid credentials.', 'Invalid credentials.', 'Too many failed login attempts, please try again in some minutes.']);
        same($status($app->send(1, '/login', $welcome)), [401 => 1], 'the right password comes too late:');
        same($status($app->send(1, '/login', $welcome, '192.0.2.2')), [200 => 1]);
        // An address has 15 tries: bob's successes between his guesses do not give them back.
        $guesses = 0;
        for ($i = 0; $i < 10; ++$i) {
            $guesses += count(array_filter($app->send(2, '/login', ['username' => "victim-$i", 'password' => 'guess'], '192.0.2.3'), static fn ($answer) => $answer[2]['error'] === 'Invalid credentials.'));
            $app->send(1, '/login', ['username' => 'bob', 'password' => 'battery staple'], '192.0.2.3');
        }
        same($guesses, 15);
    } finally {
        $app->stop();
    }
});

test('... without the bundle: Symfony\'s own, which a success opens', static function ($prefix) use ($status) {
    $app = new Served($prefix, APP_RATELIMIT: 'off');
    try {
        same($app->send(1, '/api')[0][2], Symfony\Component\RateLimiter\RateLimit::class, file_get_contents("$app->dir/log"));
        $guesses = 0;
        for ($i = 0; $i < 10; ++$i) {
            $guesses += count(array_filter($app->send(2, '/login', ['username' => "victim-$i", 'password' => 'guess'], '192.0.2.3'), static fn ($answer) => $answer[2]['error'] === 'Invalid credentials.'));
            $app->send(1, '/login', ['username' => 'bob', 'password' => 'battery staple'], '192.0.2.3');
        }
        same($guesses, 20);
    } finally {
        $app->stop();
    }
});

test('... a limiter that does not map stops the start', static function ($prefix) {
    $app = new Served($prefix, APP_INTERVAL: '1 month');
    try {
        same($app->send(1, '/api')[0][0], 500);
        same(str_contains(file_get_contents("$app->dir/log"), '"1 month" is not always as long'), true, file_get_contents("$app->dir/log"));
    } finally {
        $app->stop();
    }
});

test('a bundle that comes too late to take the name says so', static function () {
    $code = 'require "Symfony/Bundle/FrameworkBundle/autoload.php"; require "Symfony/Component/RateLimiter/autoload.php"; '
        .'require getenv("RATELIMIT_PHP")."/autoload.php"; %s new RatelimitClient\Symfony\RatelimitBundle(); new RatelimitClient\Symfony\RatelimitBundle(); echo "made";';
    $said = static fn (string $first) => shell_exec(PHP_BINARY.' -d display_errors=1 -d error_reporting=8191 -r '.escapeshellarg(sprintf($code, $first)).' 2>&1');
    same($said(''), 'made');
    same(preg_match('/LogicException: .*RateLimiterFactory was loaded before .*preload/', $said('class_exists("Symfony\Component\RateLimiter\RateLimiterFactory");')), 1);
});

result();
