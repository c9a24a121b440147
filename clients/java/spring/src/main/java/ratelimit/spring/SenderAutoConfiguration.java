package ratelimit.spring;

import io.lettuce.core.RedisURI;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.context.annotation.Bean;
import ratelimit.Sender;

/**
 * With {@code ratelimit.uri=redis://127.0.0.1:6379}, and {@code ratelimit.cluster=true} where that is a node of a cluster: a
 * connection of its own. Or a {@link Sender} of yours.
 */
@AutoConfiguration
public class SenderAutoConfiguration {
    @Bean(destroyMethod = "close")
    @ConditionalOnProperty("ratelimit.uri")
    @ConditionalOnMissingBean(Sender.class)
    Sender ratelimitSender(@Value("${ratelimit.uri}") String uri, @Value("${ratelimit.cluster:false}") boolean isCluster) {
        return ConnectingSender.of(RedisURI.create(uri), isCluster);
    }
}
