<?php
// Symfony's own tests of limiters over ours, by the clock on the wall.

const RUN = ['CompoundLimiterTest', 'LimiterTest', 'RateLimiterFactoryTest', 'Policy/FixedWindowLimiterTest', 'Policy/SlidingWindowLimiterTest', 'Policy/TokenBucketLimiterTest'];
const FILES_LEFT_OUT = [
    'RateLimitTest' => 'an answer alone',
    'Policy/NoLimiterTest' => 'its limiter without a limit, which is ours, too',
    'Policy/RateTest' => 'a rate alone',
    'Policy/SlidingWindowTest' => 'the state of its limiter',
    'Storage/CacheStorageTest' => 'a storage',
];
const STATE = 'the state of its limiter, in a storage';
const STILL = 'the exact time of a clock that stands still';
const LEFT_OUT = [
    'LimiterTest::testWrongInterval' => 'a message',
    'FixedWindowLimiterTest::testConsume' => STILL,
    'FixedWindowLimiterTest::testConsumeOutsideInterval#1' => 'takes a minute',
    'FixedWindowLimiterTest::testConsumeOutsideInterval#2' => 'takes an hour',
    'FixedWindowLimiterTest::testConsumeOutsideInterval#3' => 'takes a month, which is refused',
    'FixedWindowLimiterTest::testConsumeOutsideInterval#4' => 'takes a year, which is refused',
    'FixedWindowLimiterTest::testWrongWindowFromCache' => STATE,
    'FixedWindowLimiterTest::testWindowResilientToTimeShifting' => STATE,
    'SlidingWindowLimiterTest::testConsume' => 'the numbers of a window that is an approximation',
    'TokenBucketLimiterTest::testReserve' => STILL,
    'TokenBucketLimiterTest::testReserveMoreTokensThanBucketSize' => 'a message',
    'TokenBucketLimiterTest::testReserveMaxWaitingTime' => STILL,
    'TokenBucketLimiterTest::testWrongWindowFromCache' => STATE,
    'TokenBucketLimiterTest::testBucketResilientToTimeShifting' => STATE,
    'TokenBucketLimiterTest::testBucketRefilledWithStrictFrequency' => 'refills in steps of the interval',
];

$tests = getenv('THEIRS_CHECKOUT').'/Tests';
$there = [];
foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($tests, FilesystemIterator::SKIP_DOTS)) as $file) {
    if (str_ends_with($file, 'Test.php')) {
        $there[] = substr($file, strlen($tests) + 1, -4);
    }
}
$known = [...RUN, ...array_keys(FILES_LEFT_OUT)];
if (array_diff($there, $known) || array_diff($known, $there)) {
    throw new Exception('neither run nor left out, or not there: '.implode(' ', [...array_diff($there, $known), ...array_diff($known, $there)]));
}

$suite = '';
foreach (RUN as $name) {
    $text = preg_replace([
        '/^.*\bClockMock\b.*\n/m',
        '/new RateLimiterFactory\((\$\w+),[^;]*\);/',
        '/new FixedWindowLimiter\(/', '/new SlidingWindowLimiter\(/', '/new TokenBucketLimiter\(/', '/new CompoundLimiter\(/',
        '/\): \w+WindowLimiter$/m',
        '/(?:TokenBucket|FixedWindow|SlidingWindow)Limiter::class/',
    ], [
        '',
        '\Ours::factory($1);',
        '\Ours::fixed(', '\Ours::sliding(', '\Ours::bucket(', 'new \RatelimitClient\Symfony\Compound(',
        '): \RatelimitClient\Symfony\Limiter',
        '\RatelimitClient\Symfony\Limiter::class',
    ], file_get_contents("$tests/$name.php"));
    file_put_contents("$tests/$name.php", $text);
    $suite .= "<file>$tests/$name.php</file>";
}
$xml = "$tests/phpunit.xml";
file_put_contents($xml, '<phpunit bootstrap="'.dirname(__DIR__)."/Ours.php\"><testsuites><testsuite name=\"theirs\">$suite</testsuite></testsuites></phpunit>");

exec('phpunit --do-not-cache-result -c '.escapeshellarg($xml).' --list-tests', $listed);
$listed = implode("\n", $listed)."\n";
foreach (array_keys(LEFT_OUT) as $name) {
    if (!str_contains($listed, "\\$name\n")) {
        throw new Exception("left out, and no test has the name: $name\n$listed");
    }
    [$method, $set] = explode('#', $name) + [1 => null];
    $patterns[] = preg_quote($method, '/').($set === null ? '$' : ' with data set #'.$set.'$');
}
passthru('phpunit --do-not-cache-result -c '.escapeshellarg($xml).' --log-junit '.escapeshellarg("$tests/report.xml").
    ' --filter '.escapeshellarg('/^(?!.*(?:'.implode('|', $patterns).'))/'), $status);

foreach ([...FILES_LEFT_OUT, ...LEFT_OUT] as $name => $why) {
    echo "left out: $name: $why\n";
}
$sum = simplexml_load_file("$tests/report.xml")->testsuite;
$failed = $sum['errors'] + $sum['failures'] + $sum['skipped'] + $sum['warnings'];
echo '# ', $sum['tests'] - $failed, " passed, $failed failed\n";
exit($status);
