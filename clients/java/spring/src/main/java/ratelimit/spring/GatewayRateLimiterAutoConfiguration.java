package ratelimit.spring;

import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.cloud.gateway.config.GatewayAutoConfiguration;
import org.springframework.cloud.gateway.support.ConfigurationService;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Primary;
import ratelimit.Sender;

/** The gateway's limiter, in an application that is one. */
@AutoConfiguration(after = SenderAutoConfiguration.class, before = GatewayAutoConfiguration.class)
@ConditionalOnClass(ConfigurationService.class)
public class GatewayRateLimiterAutoConfiguration {
    /** Before the gateway's own, which an application with spring-data-redis has as well. */
    @Bean
    @Primary
    @ConditionalOnBean(Sender.class)
    @ConditionalOnMissingBean
    GatewayRateLimiter ratelimitGatewayRateLimiter(Sender sender, ConfigurationService configurationService) {
        return new GatewayRateLimiter(sender, configurationService);
    }
}
