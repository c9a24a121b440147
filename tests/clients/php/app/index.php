<?php
// A Symfony application as its documentation has them: limiters in framework.rate_limiter, asked for by RateLimiterFactory, and a
// login with login_throttling. The bundle is the one line that changes.

use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Bundle\SecurityBundle\SecurityBundle;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpFoundation\JsonResponse;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\RateLimiter\RateLimiterFactory;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;

require_once 'Symfony/Component/Security/Core/autoload.php';
require_once 'Symfony/Bundle/FrameworkBundle/autoload.php';
require_once 'Symfony/Bundle/SecurityBundle/autoload.php';
require_once 'Symfony/Component/RateLimiter/autoload.php';
require_once 'Symfony/Component/Lock/autoload.php';
require_once getenv('RATELIMIT_PHP').'/autoload.php';

final class App extends Kernel
{
    use MicroKernelTrait;

    public function registerBundles(): iterable
    {
        yield new FrameworkBundle();
        yield new SecurityBundle();
        if (getenv('APP_RATELIMIT') !== 'off') {
            preg_match('/^### Under Symfony.*?^```php\n(.*?)^```/ms', file_get_contents(__DIR__.'/../../../../clients/README.md'), $shown);
            foreach (eval("return [\n$shown[1]];") as $bundle => $environments) {
                yield new $bundle();
            }
        }
    }

    public function getProjectDir(): string
    {
        return getenv('APP_DIR');
    }

    protected function configureContainer(ContainerConfigurator $container): void
    {
        $container->extension('framework', [
            'secret' => 'not one',
            'http_method_override' => false,
            'lock' => 'flock',
            'trusted_proxies' => '127.0.0.1',
            'trusted_headers' => ['x-forwarded-for'],
            'rate_limiter' => [
                'api' => ['policy' => 'sliding_window', 'limit' => 5, 'interval' => getenv('APP_INTERVAL') ?: '10 minutes'],
                'jobs' => ['policy' => 'token_bucket', 'limit' => 1, 'rate' => ['interval' => '1 second', 'amount' => 20]],
                'free' => ['policy' => 'no_limit', 'limit' => 1],
            ],
        ]);
        $container->extension('security', [
            'enable_authenticator_manager' => true,
            'password_hashers' => [Symfony\Component\Security\Core\User\InMemoryUser::class => 'plaintext'],
            'providers' => ['users' => ['memory' => ['users' => [
                'ann' => ['password' => 'correct horse', 'roles' => ['ROLE_USER']],
                'bob' => ['password' => 'battery staple', 'roles' => ['ROLE_USER']],
            ]]]],
            'firewalls' => ['main' => [
                'stateless' => true,
                'json_login' => ['check_path' => '/login'],
                'login_throttling' => ['max_attempts' => 3, 'interval' => '10 minutes'],
            ]],
        ]);
        if (getenv('APP_RATELIMIT') !== 'off') {
            $container->extension('ratelimit', ['client' => '%env(REDIS_URL)%', 'prefix' => getenv('APP_PREFIX'), 'timeout' => 30]);
        }
        $container->services()->set('logger', Psr\Log\NullLogger::class);
    }

    protected function configureRoutes(RoutingConfigurator $routes): void
    {
        $routes->add('api', '/api')->controller([$this, 'api']);
        $routes->add('job', '/job')->controller([$this, 'job']);
        $routes->add('login', '/login')->controller([$this, 'login']);
    }

    public function api(Request $request, RateLimiterFactory $apiLimiter): JsonResponse
    {
        $limit = $apiLimiter->create($request->getClientIp())->consume();

        return new JsonResponse($limit::class, $limit->isAccepted() ? 200 : 429, [
            'X-RateLimit-Remaining' => $limit->getRemainingTokens(),
            'X-RateLimit-Limit' => $limit->getLimit(),
        ] + ($limit->isAccepted() ? [] : ['Retry-After' => $limit->getRetryAfter()->getTimestamp() - time()]));
    }

    /** When it acted. */
    public function job(RateLimiterFactory $jobsLimiter, RateLimiterFactory $freeLimiter): JsonResponse
    {
        $freeLimiter->create()->consume(100)->ensureAccepted();
        $jobsLimiter->create('all')->reserve(1, 60)->wait();

        return new JsonResponse(microtime(true));
    }

    public function login(): JsonResponse
    {
        return new JsonResponse('welcome');
    }
}

$kernel = new App(getenv('APP_ENV'), false);
$request = Request::createFromGlobals();
$response = $kernel->handle($request);
$response->send();
$kernel->terminate($request, $response);
