<?php

namespace RatelimitClient\Symfony;

use Symfony\Component\RateLimiter\LimiterInterface;
use Symfony\Component\RateLimiter\RateLimiterFactoryInterface;

// Symfony has an interface of its own from 7.3 on.
if (interface_exists(RateLimiterFactoryInterface::class)) {
    interface Factory extends RateLimiterFactoryInterface
    {
    }
} else {
    interface Factory
    {
        public function create(?string $key = null): LimiterInterface;
    }
}
