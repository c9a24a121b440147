# shellcheck shell=bash disable=SC2034 # read where this is sourced
tests=$THEIRS_CHECKOUT/resilience4j-ratelimiter/src/test/java/io/github/resilience4j/ratelimiter
sources=("$tests"/internal/RateLimitersImplementationTest.java "$tests"/RateLimiter{EventPublisher,WithConditionalDrainIntegration}Test.java)
sed -i 's/\bRateLimiter\.of(/io.github.resilience4j.ratelimiter.internal.Ours.of(/' "${sources[@]}"
