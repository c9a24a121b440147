<?php

// For an application without Composer.
spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'RatelimitClient\\')) {
        $file = __DIR__.'/src/'.strtr(substr($class, 16), '\\', '/').'.php';
        if (is_file($file)) {
            require $file;
        }
    }
});
