<?php

/** Webhooks: whether a request is ours, by Standard Webhooks 1.0. */

declare(strict_types=1);

namespace AiHub\Analytics;

final class Webhook
{
    /**
     * The event in a body, if one of the secrets signed it in the last `tolerance` seconds.
     *
     * Give the bytes as they came. `webhook-id` is the same for all attempts of a delivery: handle each once.
     *
     * @param array<string, mixed> $headers as `getallheaders()` or `$_SERVER` has them, or lists of values
     * @param string|list<string> $secret
     * @return array<string, mixed>
     * @throws InvalidSignature
     */
    public static function verify(
        string $body,
        array $headers,
        #[\SensitiveParameter]
        string|array $secret,
        int $tolerance = 300,
        ?int $now = null,
    ): array {
        $id = self::header($headers, 'webhook-id');
        $timestamp = self::header($headers, 'webhook-timestamp');
        $signatures = self::header($headers, 'webhook-signature');
        if (preg_match('/^[0-9]{1,12}$/D', $timestamp) !== 1) {
            throw new InvalidSignature('webhook-timestamp is no number');
        }
        $age = abs(($now ?? time()) - (int) $timestamp);
        if ($age > $tolerance) {
            throw new InvalidSignature("it is $age seconds old or ahead");
        }
        foreach ((array) $secret as $one) {
            $expected = base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", self::key($one), true));
            foreach (explode(' ', $signatures) as $signature) {
                [$version, $value] = explode(',', $signature, 2) + ['', ''];
                if ($version === 'v1' && hash_equals($expected, $value)) {
                    return json_decode($body, true, flags: JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
                }
            }
        }
        throw new InvalidSignature('no signature fits');
    }

    /** @param array<string, mixed> $headers */
    private static function header(array $headers, string $wanted): string
    {
        foreach ($headers as $name => $value) {
            $name = strtolower(strtr((string) $name, '_', '-'));
            if ($name === $wanted || $name === 'http-' . $wanted) {
                return is_array($value) ? implode(' ', $value) : (string) $value;
            }
        }
        throw new InvalidSignature("$wanted is missing");
    }

    private static function key(#[\SensitiveParameter] string $secret): string
    {
        $key = base64_decode(str_starts_with($secret, 'whsec_') ? substr($secret, 6) : $secret, true);
        // Everybody can sign with an empty key.
        if ($key === false || $key === '') {
            throw new \InvalidArgumentException('the secret is empty, or no base64');
        }
        return $key;
    }
}
