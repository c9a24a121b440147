package ratelimit.spring;

import jakarta.servlet.Filter;
import java.util.Map;
import org.springframework.beans.factory.BeanFactory;
import org.springframework.beans.factory.support.BeanDefinitionRegistry;
import org.springframework.beans.factory.support.RootBeanDefinition;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnWebApplication;
import org.springframework.boot.context.properties.bind.BindHandler;
import org.springframework.boot.context.properties.bind.Bindable;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.boot.context.properties.bind.handler.NoUnboundElementsBindHandler;
import org.springframework.boot.context.properties.source.UnboundElementsSourceFilter;
import org.springframework.boot.web.servlet.FilterRegistrationBean;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.ImportBeanDefinitionRegistrar;
import org.springframework.core.Ordered;
import org.springframework.core.env.Environment;
import org.springframework.core.type.AnnotationMetadata;
import ratelimit.RateLimitFilter;
import ratelimit.Sender;

/**
 * Limits in front of servlets, each of a name:
 *
 * <pre>
 * ratelimit.filters.api.paths=/api/*
 * ratelimit.filters.api.limit=100
 * ratelimit.filters.api.window=15m
 * ratelimit.filters.api.hops=1
 * </pre>
 *
 * Each is a bean, as filters are. A mistake in them stops the start.
 */
@AutoConfiguration(after = SenderAutoConfiguration.class)
@ConditionalOnClass({Filter.class, FilterRegistrationBean.class})
@ConditionalOnWebApplication(type = ConditionalOnWebApplication.Type.SERVLET)
@Import(FilterAutoConfiguration.Registrar.class)
public class FilterAutoConfiguration {
    private static final String FILTERS = "ratelimit.filters";
    /** By address: before whatever else looks at a request. */
    private static final int FIRST = Ordered.HIGHEST_PRECEDENCE + 100;
    /** By user: behind what logs one in. */
    private static final int LAST = Ordered.LOWEST_PRECEDENCE;

    static final class Registrar implements ImportBeanDefinitionRegistrar {
        private final Environment environment;
        private final BeanFactory beans;

        Registrar(Environment environment, BeanFactory beans) {
            this.environment = environment;
            this.beans = beans;
        }

        @Override
        public void registerBeanDefinitions(AnnotationMetadata importing, BeanDefinitionRegistry registry) {
            var known = new NoUnboundElementsBindHandler(BindHandler.DEFAULT, new UnboundElementsSourceFilter());
            Map<String, FilterConfig> configs = Binder.get(environment).bind(FILTERS, Bindable.mapOf(String.class, FilterConfig.class), known).orElse(Map.of());
            configs.forEach((name, config) -> {
                var bean = new RootBeanDefinition(FilterRegistrationBean.class, () -> registration(name, config));
                registry.registerBeanDefinition("ratelimit " + name, bean);
            });
        }

        private FilterRegistrationBean<RateLimitFilter> registration(String name, FilterConfig config) {
            var sender = beans.getBeanProvider(Sender.class).getIfAvailable();
            if (sender == null) throw new IllegalArgumentException(FILTERS + ": there is no ratelimit.uri, such as redis://127.0.0.1:6379, nor a bean of Sender");
            try {
                var registration = new FilterRegistrationBean<>(new RateLimitFilter(config.limiter(sender, name), config.key(), name));
                registration.addUrlPatterns(config.paths());
                registration.setName("ratelimit " + name);
                registration.setOrder(config.isOfUsers() ? LAST : FIRST);
                return registration;
            } catch (IllegalArgumentException mistake) {
                throw new IllegalArgumentException(FILTERS + "." + name + ": " + mistake.getMessage(), mistake);
            }
        }
    }
}
