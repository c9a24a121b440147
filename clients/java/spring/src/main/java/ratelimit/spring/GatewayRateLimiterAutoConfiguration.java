package ratelimit.spring;

import io.lettuce.core.RedisURI;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.cloud.gateway.config.GatewayAutoConfiguration;
import org.springframework.cloud.gateway.support.ConfigurationService;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Primary;
import ratelimit.Sender;

/**
 * With {@code ratelimit.uri=redis://127.0.0.1:6379}, and {@code ratelimit.cluster=true} where that is a node of a cluster: a
 * connection of its own, and the gateway's limiter over it. Or over a {@link Sender} of yours.
 */
@AutoConfiguration(before = GatewayAutoConfiguration.class)
public class GatewayRateLimiterAutoConfiguration {
    @Bean(destroyMethod = "close")
    @ConditionalOnProperty("ratelimit.uri")
    @ConditionalOnMissingBean(Sender.class)
    Sender ratelimitSender(@Value("${ratelimit.uri}") String uri, @Value("${ratelimit.cluster:false}") boolean isCluster) {
        return ConnectingSender.of(RedisURI.create(uri), isCluster);
    }

    /** Before the gateway's own, which an application with spring-data-redis has as well. */
    @Bean
    @Primary
    @ConditionalOnBean(Sender.class)
    @ConditionalOnMissingBean
    GatewayRateLimiter ratelimitGatewayRateLimiter(Sender sender, ConfigurationService configurationService) {
        return new GatewayRateLimiter(sender, configurationService);
    }
}
