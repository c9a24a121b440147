<?php

namespace RatelimitClient\Symfony;

use RatelimitClient\Client;
use Symfony\Component\HttpFoundation\RateLimiter\RequestRateLimiterInterface;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\RateLimiter\RateLimit;

/**
 * For login_throttling, in the place of Symfony's DefaultLoginRateLimiter: an address, and an account tried from it, are charged
 * together before the password is looked at, so that a hundred tries at once are a hundred.
 *
 * Symfony's gives the whole address back its tries when one login succeeds: whoever has an account there may so try others'
 * without end. Here a success forgets the account's tries from this address, and gives the address back this try alone.
 */
final class LoginRateLimiter implements RequestRateLimiterInterface
{
    private const CHARGED_AT = '_ratelimit_login_charged_at';
    private const LAST_USERNAME = '_security.last_username';

    /** @param string $secret so that nobody can look up in Redis who has tried to log in */
    public function __construct(
        private readonly Client $client,
        private readonly LimiterFactory $perAddress,
        private readonly LimiterFactory $perAccount,
        private readonly string $secret,
    ) {
    }

    public function consume(Request $request): RateLimit
    {
        [$rateLimit, $stamp] = (new Compound($this->limiters($request)))->charge(1, 'STAMP');
        $request->attributes->set(self::CHARGED_AT, $stamp);

        return $rateLimit;
    }

    public function reset(Request $request): void
    {
        [$address, $account] = $this->limiters($request);
        $stamp = (int) $request->attributes->get(self::CHARGED_AT, 0);
        $request->attributes->remove(self::CHARGED_AT);
        $this->client->try('login', function () use ($address, $account, $stamp): void {
            $account->reset();
            if ($stamp > 0 && $address instanceof Limiter) {
                $address->giveBack(1, $stamp);
            }
        });
    }

    /** @return array{\Symfony\Component\RateLimiter\LimiterInterface, \Symfony\Component\RateLimiter\LimiterInterface} */
    private function limiters(Request $request): array
    {
        $username = (string) $request->attributes->get(self::LAST_USERNAME, '');
        $username = preg_match('//u', $username) ? mb_strtolower($username, 'UTF-8') : strtolower($username);
        $address = self::network($request->getClientIp());

        return [
            $this->perAddress->create($address),
            $this->perAccount->create(hash_hmac('sha256', "$username-$address", $this->secret)),
        ];
    }

    /** Of IPv6 the /64, which one customer has at least. */
    private static function network(?string $address): string
    {
        $bytes = (string) @inet_pton((string) $address);
        if (strlen($bytes) < 16) {
            return $bytes === '' ? 'unknown' : (string) $address;
        }
        if (str_starts_with($bytes, str_repeat("\0", 10)."\xFF\xFF")) {
            return (string) inet_ntop(substr($bytes, 12));
        }

        return inet_ntop(substr($bytes, 0, 8).str_repeat("\0", 8)).'/64';
    }
}
