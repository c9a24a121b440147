<?php

namespace RatelimitClient\Symfony;

use RatelimitClient\Client;
use Symfony\Component\Config\Definition\Builder\TreeBuilder;
use Symfony\Component\Config\Definition\ConfigurationInterface;
use Symfony\Component\DependencyInjection\ChildDefinition;
use Symfony\Component\DependencyInjection\Compiler\CompilerPassInterface;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\ContainerInterface;
use Symfony\Component\DependencyInjection\Definition;
use Symfony\Component\DependencyInjection\Extension\Extension;
use Symfony\Component\DependencyInjection\Extension\ExtensionInterface;
use Symfony\Component\DependencyInjection\Reference;
use Symfony\Component\HttpKernel\Bundle\Bundle;
use Symfony\Component\RateLimiter\RateLimiterFactory;
use Symfony\Component\Security\Http\RateLimiter\DefaultLoginRateLimiter;

/**
 * One line of config/bundles.php, and every limiter of framework.rate_limiter, and each login_throttling without a limiter of its
 * own, is decided by the server:
 *
 *     RatelimitClient\Symfony\RatelimitBundle::class => ['all' => true],
 *
 * Symfony's RateLimiterFactory is final, and applications ask for it by its name: so LimiterFactory takes that name.
 */
final class RatelimitBundle extends Bundle implements CompilerPassInterface, ConfigurationInterface
{
    public function __construct()
    {
        if (!class_exists(RateLimiterFactory::class, false)) {
            class_alias(LimiterFactory::class, RateLimiterFactory::class);
        }
        if (!is_a(RateLimiterFactory::class, LimiterFactory::class, true)) {
            throw new \LogicException(sprintf('%s was loaded before %s, which takes its name: with opcache.preload, make a "new %2$s()" in config/preload.php first.', RateLimiterFactory::class, self::class));
        }
    }

    public function build(ContainerBuilder $container): void
    {
        $container->addCompilerPass($this);
    }

    public function getContainerExtension(): ?ExtensionInterface
    {
        return new class($this) extends Extension {
            public function __construct(private readonly RatelimitBundle $bundle)
            {
            }

            public function getAlias(): string
            {
                return 'ratelimit';
            }

            public function getConfiguration(array $config, ContainerBuilder $container): ConfigurationInterface
            {
                return $this->bundle;
            }

            public function load(array $configs, ContainerBuilder $container): void
            {
                $config = $this->processConfiguration($this->bundle, $configs);
                $redis = $config['client'];
                $container->setDefinition(Client::class, new Definition(Client::class, [
                    is_string($redis) && str_starts_with($redis, '@') ? new Reference(substr($redis, 1)) : $redis,
                    $config['prefix'], $config['timeout'], $config['unavailable'], $config['tls'],
                    new Reference('logger', ContainerInterface::NULL_ON_INVALID_REFERENCE),
                    ...array_map(fn ($id) => $id === null ? null : new Reference($id), [$config['on_error'], $config['on_hit']]),
                ]));
            }
        };
    }

    public function getConfigTreeBuilder(): TreeBuilder
    {
        $tree = new TreeBuilder('ratelimit');
        $tree->getRootNode()->children()
            ->scalarNode('client')->isRequired()->cannotBeEmpty()->info('an address, or "@" and the service of a Redis or a Predis\Client')->end()
            ->scalarNode('prefix')->defaultValue('symfony')->end()
            ->floatNode('timeout')->defaultValue(1.0)->info('seconds')->end()
            ->enumNode('unavailable')->values(['open', 'closed'])->defaultValue('open')->end()
            ->arrayNode('tls')->normalizeKeys(false)->variablePrototype()->end()->info('PHP\'s options of an SSL context')->end()
            ->scalarNode('on_error')->defaultNull()->info('a service that can be called')->end()
            ->scalarNode('on_hit')->defaultNull()->info('a service that can be called')->end()
        ->end();

        return $tree;
    }

    public function process(ContainerBuilder $container): void
    {
        $client = new Reference(Client::class);
        foreach ($container->getDefinitions() as $id => $definition) {
            if ($definition instanceof ChildDefinition && $definition->getParent() === 'limiter') {
                $config = array_intersect_key($definition->getArgument(0), array_flip(['id', 'policy', 'limit', 'interval', 'rate']));
                $config = array_filter($config, fn ($value) => $value !== null);
                if ($container->resolveEnvPlaceholders($config, null, $used) === $config && !$used) {
                    LimiterFactory::plan($config);
                }
                $container->setDefinition($id, (new Definition(LimiterFactory::class, [$config, $client]))->setPublic($definition->isPublic()));
            } elseif ($definition->getClass() === DefaultLoginRateLimiter::class) {
                $definition->setClass(LoginRateLimiter::class)->setArguments([$client, $definition->getArgument(0), $definition->getArgument(1), '%kernel.secret%']);
            }
        }
        $container->removeDefinition('limiter'); // Symfony's, of a class that is none of it any more
    }
}
