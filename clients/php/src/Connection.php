<?php

namespace RatelimitClient;

/**
 * One connection. What is sent is sent once, and whatever goes wrong ends the connection: a reply that comes late can be nobody
 * else's.
 */
final class Connection
{
    private const MAX_LINE = 65_536;
    private const MAX_DEPTH = 16;

    /** @var resource */
    private $stream;
    private string $buffer = '';
    private bool $isNew = true;

    public function __construct(private readonly Server $server, Deadline $deadline)
    {
        $to = $server->path !== null ? "unix://$server->path" : sprintf(str_contains($server->host, ':') ? 'tcp://[%s]:%d' : 'tcp://%s:%d', $server->host, $server->port);
        $context = stream_context_create(['ssl' => ['peer_name' => $server->host] + ($server->tls ?? []), 'socket' => ['tcp_nodelay' => true]]);
        $stream = @stream_socket_client($to, $errno, $error, $deadline->left(), \STREAM_CLIENT_CONNECT, $context);
        if ($stream === false) {
            $deadline->left();
            throw new Failure('connection', "Redis at $server: $error");
        }
        $this->stream = $stream;
        stream_set_blocking($stream, false);
        if ($server->tls !== null) {
            $this->secure($deadline);
        }
    }

    /** Nothing was asked: what is there to be read is its end, or no answer to anything. */
    public function isStale(): bool
    {
        return $this->buffer !== '' || @fread($this->stream, 1) !== '' || feof($this->stream);
    }

    /**
     * The reply to a command; an error of the server's as a Failure.
     *
     * @param list<string> $words
     */
    public function call(array $words, Deadline $deadline): mixed
    {
        $login = $this->isNew ? $this->server->login() : [];
        $this->isNew = false;
        $this->write(implode('', array_map(self::pack(...), [...$login, $words])), $deadline);
        foreach ($login as $_) {
            $said = $this->reply($deadline);
            if ($said instanceof Failure) {
                throw $said;
            }
        }

        return $this->reply($deadline);
    }

    private function secure(Deadline $deadline): void
    {
        error_clear_last();
        while (($is = @stream_socket_enable_crypto($this->stream, true, \STREAM_CRYPTO_METHOD_TLS_CLIENT)) === 0) {
            $this->wait($deadline);
        }
        if (!$is) {
            throw new Failure('connection', "Redis at $this->server: TLS: ".preg_replace('/\s+/', ' ', error_get_last()['message'] ?? 'closed'));
        }
    }

    private static function pack(array $words): string
    {
        return '*'.count($words)."\r\n".implode('', array_map(fn (string $word) => '$'.strlen($word)."\r\n$word\r\n", $words));
    }

    private function write(string $bytes, Deadline $deadline): void
    {
        while ($bytes !== '') {
            $written = @fwrite($this->stream, $bytes);
            if ($written === false) {
                throw $this->closed();
            }
            $bytes = substr($bytes, $written);
            if ($written === 0) {
                $this->wait($deadline, true);
            }
        }
    }

    private function wait(Deadline $deadline, bool $toWrite = false): void
    {
        $left = $deadline->left();
        $read = $toWrite ? null : [$this->stream];
        $write = $toWrite ? [$this->stream] : null;
        $except = null;
        @stream_select($read, $write, $except, (int) $left, (int) (fmod($left, 1) * 1e6) + 1); // a signal may end it early
    }

    private function more(Deadline $deadline): void
    {
        $chunk = @fread($this->stream, 16_384);
        if ($chunk === false || ($chunk === '' && feof($this->stream))) {
            throw $this->closed();
        }
        if ($chunk === '') {
            $this->wait($deadline);
        }
        $this->buffer .= $chunk;
    }

    private function reply(Deadline $deadline, int $depth = 0): mixed
    {
        while (($end = strpos($this->buffer, "\r\n")) === false) {
            if (strlen($this->buffer) > self::MAX_LINE) {
                throw $this->noReply();
            }
            $this->more($deadline);
        }
        $line = substr($this->buffer, 0, $end);
        $this->buffer = substr($this->buffer, $end + 2);
        $text = substr($line, 1);
        switch ($line[0] ?? '') {
            case '+': return $text;
            case '-': return Failure::replied($text);
            case ':': return $this->integer($text);
            case '$':
                if (($size = $this->integer($text)) < 0) {
                    return null;
                }
                while (strlen($this->buffer) < $size + 2) {
                    $this->more($deadline);
                }
                $bytes = substr($this->buffer, 0, $size);
                $this->buffer = substr($this->buffer, $size + 2);

                return $bytes;
            case '*':
                if (($size = $this->integer($text)) < 0) {
                    return null;
                }
                if ($depth === self::MAX_DEPTH) {
                    throw $this->noReply();
                }
                $items = [];
                while (count($items) < $size) {
                    $items[] = $this->reply($deadline, $depth + 1);
                }

                return $items;
            default: throw $this->noReply();
        }
    }

    private function integer(string $text): int
    {
        return filter_var($text, \FILTER_VALIDATE_INT, \FILTER_NULL_ON_FAILURE) ?? throw $this->noReply();
    }

    private function closed(): Failure
    {
        return new Failure('connection', "Redis at $this->server closed the connection");
    }

    private function noReply(): Failure
    {
        return new Failure('refused', "what answers at $this->server is not Redis");
    }
}
