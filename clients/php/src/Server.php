<?php

namespace RatelimitClient;

/**
 * Where a Redis is, taken from an address or from a client of phpredis or predis. The client itself is never asked to send: its
 * time-outs are not the limiter's, and phpredis connects up to ten times over before it says so.
 */
final class Server
{
    /** @param array<string, mixed>|null $tls options of an SSL context, null without TLS */
    private function __construct(
        public readonly string $host,
        public readonly int $port,
        public readonly ?string $path,
        public readonly ?string $username,
        public readonly ?string $password,
        public readonly int $database,
        public readonly ?array $tls,
    ) {
    }

    /** @param array<string, mixed> $tls */
    public static function of(mixed $client, array $tls): self
    {
        return match (true) {
            is_string($client) => self::ofAddress($client, $tls),
            $client instanceof \Redis => self::ofPhpredis($client, $tls),
            $client instanceof \Predis\Client => self::ofPredis($client, $tls),
            default => throw new \InvalidArgumentException(sprintf(
                'client: expected an address such as "redis://localhost:6379/0", a Redis or a Predis\Client, got %s', get_debug_type($client))),
        };
    }

    private static function ofAddress(string $address, array $tls): self
    {
        // A path without a host, as Symfony's addresses have it, is none to parse_url.
        $url = parse_url(preg_replace('#^(redis|unix)://((?:[^@/]*@)?)/#', '$1://$2localhost/', $address));
        $scheme = $url['scheme'] ?? '';
        $path = $url['path'] ?? '';
        parse_str($url['query'] ?? '', $query);
        if (!isset($url['host']) || !in_array($scheme, ['redis', 'rediss', 'unix'], true)) {
            throw new \InvalidArgumentException('client: expected an address such as "redis://localhost:6379/0", rediss:// or unix:///path');
        }
        if (array_intersect_key($query, array_flip(['host', 'redis_cluster', 'redis_sentinel', 'sentinel_master']))) {
            throw new \InvalidArgumentException('client: Sentinel and clusters are not supported here: give an address that follows the primary');
        }
        $isPath = $scheme === 'unix' || (!ctype_digit(substr($path, 1)) && substr_count($path, '/') > 1);
        $database = $isPath ? '' : substr($path, 1);
        $database = $database === '' ? (string) ($query['dbindex'] ?? '0') : $database;
        if (!ctype_digit($database)) {
            throw new \InvalidArgumentException('client: expected the number of a database after the address\' host, as in "redis://localhost:6379/0"');
        }
        // Symfony's addresses have a password alone before the @.
        [$username, $password] = isset($url['pass']) ? [$url['user'] ?? '', $url['pass']] : ['', $url['user'] ?? ''];

        return new self(trim($url['host'], '[]'), $url['port'] ?? 6379, $isPath ? $path : null, self::some(rawurldecode($username)),
            self::some(rawurldecode($password)), (int) $database, $scheme === 'rediss' ? $tls : null);
    }

    private static function ofPhpredis(\Redis $client, array $tls): self
    {
        $host = $client->getHost();
        if (!is_string($host)) {
            throw new \InvalidArgumentException('client: this Redis has not been connected: connect it first, or give an address');
        }
        $auth = (array) ($client->getAuth() ?: []); // a password, or a user and a password
        $password = array_pop($auth);
        $username = array_pop($auth);
        $isPath = str_starts_with($host, '/') || str_starts_with($host, 'unix://');
        preg_match('#^(?:(tls|ssl|tcp|unix)://)?(.*)$#', $host, $parts);

        return new self($parts[2], (int) $client->getPort(), $isPath ? $parts[2] : null, self::some($username), self::some($password),
            (int) $client->getDbNum(), in_array($parts[1], ['tls', 'ssl'], true) ? $tls : null);
    }

    private static function ofPredis(\Predis\Client $client, array $tls): self
    {
        $connection = $client->getConnection();
        if (!$connection instanceof \Predis\Connection\NodeConnectionInterface) {
            throw new \InvalidArgumentException('client: Sentinel and clusters are not supported here: give an address that follows the primary');
        }
        $of = $connection->getParameters();
        $isTls = in_array($of->scheme, ['tls', 'rediss'], true);

        return new self((string) $of->host, (int) $of->port, $of->scheme === 'unix' ? (string) $of->path : null, self::some($of->username),
            self::some($of->password), (int) $of->database, $isTls ? $tls + (array) $of->ssl : null);
    }

    private static function some(?string $text): ?string
    {
        return $text === '' ? null : $text;
    }

    /** @return list<list<string>> what a new connection says first */
    public function login(): array
    {
        $login = [];
        if ($this->password !== null) {
            $isNamed = !in_array($this->username, [null, 'default'], true);
            $login[] = $isNamed ? ['AUTH', $this->username, $this->password] : ['AUTH', $this->password];
        }
        if ($this->database > 0) {
            $login[] = ['SELECT', (string) $this->database];
        }

        return $login;
    }

    public function __toString(): string
    {
        return $this->path ?? "$this->host:$this->port";
    }
}
