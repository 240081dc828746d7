<?php

/** Loads the classes without Composer, version << version >>. */

declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
    $prefix = 'AiHub\\Analytics\\';
    if (!str_starts_with($class, $prefix)) {
        return;
    }
    $name = substr($class, strlen($prefix));
    // All errors are in one file.
    $errors = ['ApiError', 'ConnectionFailed', 'InvalidSignature'];
    if (str_starts_with($name, 'Errors\\') || in_array($name, $errors, true)) {
        $name = 'Errors';
    }
    $file = __DIR__ . '/src/' . $name . '.php';
    if (is_file($file)) {
        require_once $file;
    }
});
