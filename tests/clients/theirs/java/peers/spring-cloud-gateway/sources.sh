# shellcheck shell=bash disable=SC2034 # read where this is sourced
tests=$THEIRS_CHECKOUT/spring-cloud-gateway-server-webflux/src/test/java/org/springframework/cloud/gateway
sources=("$tests"/filter/ratelimit/RedisRateLimiter{,Config,DefaultFilterConfig,Unit}Tests.java
    "$tests"/filter/ratelimit/PrincipalNameKeyResolverIntegrationTests.java)
# A limiter made in Java is ours, and the server is the one that runs already.
sed -i -e 's/\bnew RedisRateLimiter(/new Ours(/' -e '/testcontainers/d' -e '/@Testcontainers/d' -e '/@Container$/,/withExposedPorts/d' \
    -e '/@DynamicPropertySource/,/^\t}/d' "${sources[@]}"
# Disabled for a machine that is too slow for theirs.
sed -i '/@Disabled$/d' "$tests"/filter/ratelimit/RedisRateLimiterTests.java
# In the place of one that lets everybody in.
sed -i -e 's/\bMyRateLimiter myRateLimiter()/RedisRateLimiter myRateLimiter()/' -e 's/\bnew MyRateLimiter()/new Ours(100, 100, 1)/' -e '/@Primary$/d' \
    "$tests"/filter/ratelimit/PrincipalNameKeyResolverIntegrationTests.java
sources+=("$tests"/test/{BaseWebClientTests,HttpBinCompatibleController,{PermitAllSecurity,TestEnableWebfluxSecurityAuto}Configuration}.java)
resources=$THEIRS_CHECKOUT/spring-cloud-gateway-server-webflux/src/test/resources
