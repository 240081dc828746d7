<?php

/** The client: how requests are sent, repeated and read. */

declare(strict_types=1);

namespace AiHub\Analytics;

/**
 * Calls the API with a key.
 *
 * A request without an answer, and one with a status of `RETRIED`, is sent again up to `retries` times, after pauses
 * that double, or as long as `Retry-After` says. Requests that change something carry the same `Idempotency-Key` in
 * all attempts, so that nothing is done twice.
 */
class Client extends Operations
{
    public const VERSION = '<< version >>';

    /** Answers that may be other when asked again. */
    public const RETRIED = [408, 429, 500, 502, 503, 504];

    private const JSON = JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE;

    public readonly string $baseUrl;

    private ?string $organization = null;

    /** Kept, so that connections are used again. */
    private ?\CurlHandle $curl = null;

    /**
     * @param float $timeout seconds without a byte from the server
     * @param int $retries attempts after the first
     * @param float $pause seconds before the first of them
     * @param float $pauseMax seconds that a pause takes at most
     */
    public function __construct(
        string $baseUrl,
        #[\SensitiveParameter]
        private readonly string $apiKey,
        private readonly float $timeout = 30,
        private readonly int $retries = 4,
        private readonly float $pause = 0.5,
        private readonly float $pauseMax = 30,
    ) {
        $this->baseUrl = rtrim($baseUrl, '/');
    }

    /** @return array<string, string> */
    public function __debugInfo(): array
    {
        return ['baseUrl' => $this->baseUrl];
    }

    /**
     * A `usage.request` as the API takes it. Send it again with the same `id`, and it counts once.
     *
     * @param array<string, mixed> $data columns, such as `model` and `input_tokens`
     * @return array<string, mixed>
     */
    public static function usageEvent(
        string $source,
        array $data,
        ?string $id = null,
        ?\DateTimeInterface $time = null,
    ): array {
        $at = $time === null ? new \DateTimeImmutable() : \DateTimeImmutable::createFromInterface($time);
        return [
            'specversion' => '1.0',
            'id' => $id ?? self::uuid(),
            'source' => $source,
            'type' => 'usage.request',
            'time' => $at->setTimezone(new \DateTimeZone('UTC'))->format('Y-m-d\TH:i:s.u\Z'),
            'data' => $data === [] ? new \stdClass() : $data,
        ];
    }

    /**
     * Sends one `usage.request`.
     *
     * @param array<string, mixed> $data columns, such as `model` and `input_tokens`
     */
    public function sendUsage(array $data, ?string $id = null, ?string $source = null): mixed
    {
        return $this->sendEvents([self::usageEvent($source ?? $this->defaultSource(), $data, $id)]);
    }

    /** `/organizations/{id}/php` for an organization's own key, else `/php`. */
    public function defaultSource(): string
    {
        $this->organization ??= $this->getMe()['organization_id'] ?? '';
        return $this->organization === '' ? '/php' : '/organizations/' . $this->organization . '/php';
    }

    /**
     * Collects events and sends them in batches, also when the program ends.
     *
     * @param mixed ...$options those of `EventQueue`, by their names
     */
    public function eventQueue(mixed ...$options): EventQueue
    {
        return new EventQueue($this, ...$options);
    }

    protected function pages(
        string $path,
        array $pathParameters,
        array $query,
        string $items,
        string $following,
        string $parameter,
    ): \Generator {
        while (true) {
            $page = $this->call('GET', $path, $pathParameters, $query);
            foreach ($page[$items] ?? [] as $item) {
                yield $item;
            }
            $cursor = $page[$following] ?? null;
            if ($cursor === null || !($page['has_more'] ?? true)) {
                return;
            }
            $query[$parameter] = $cursor;
        }
    }

    protected function call(
        string $method,
        string $path,
        array $pathParameters = [],
        array $query = [],
        mixed $body = null,
        string $contentType = 'application/json',
    ): mixed {
        foreach ($pathParameters as $name => $value) {
            $path = str_replace('{' . $name . '}', rawurlencode((string) $value), $path);
        }
        $given = [];
        foreach ($query as $name => $value) {
            if ($value !== null) {
                $given[] = rawurlencode($name) . '=' . rawurlencode(self::text($value));
            }
        }
        $url = $this->baseUrl . $path . ($given === [] ? '' : '?' . implode('&', $given));
        $headers = [
            'Authorization: Bearer ' . $this->apiKey,
            'Accept: application/json, */*;q=0.5',
            'User-Agent: aihub-analytics-php/' . self::VERSION,
            // Do not wait for a `100 Continue`.
            'Expect:',
        ];
        $data = null;
        if ($body !== null) {
            $data = is_string($body) ? $body : json_encode($body, self::JSON);
            $headers[] = 'Content-Type: ' . $contentType;
        } elseif (in_array($method, ['POST', 'PUT', 'PATCH'], true)) {
            // Without a body the length is 0, and there is no type.
            $data = '';
            $headers[] = 'Content-Type:';
        }
        if ($method === 'POST' || $method === 'PATCH') {
            $headers[] = 'Idempotency-Key: "' . self::uuid() . '"';
        }
        return $this->attempts($method, $url, $headers, $data);
    }

    /** @param list<string> $headers */
    private function attempts(string $method, string $url, array $headers, ?string $data): mixed
    {
        for ($attempt = 0;; $attempt++) {
            try {
                return $this->once($method, $url, $headers, $data);
            } catch (ApiError $error) {
                $mayRepeat = in_array($error->status, self::RETRIED, true)
                    || $error->errorCode === 'request_in_progress';
                if (!$mayRepeat || $attempt >= $this->retries) {
                    throw $error;
                }
                $pause = $error->retryAfter;
            } catch (ConnectionFailed $error) {
                if ($attempt >= $this->retries) {
                    throw $error;
                }
                $pause = null;
            }
            $pause ??= $this->pause * 2 ** $attempt * random_int(500, 1000) / 1000;
            usleep((int) (min($pause, $this->pauseMax) * 1_000_000));
        }
    }

    /** @param list<string> $headers */
    private function once(string $method, string $url, array $headers, ?string $data): mixed
    {
        $this->curl ??= curl_init();
        curl_reset($this->curl);
        $answered = [];
        [$bytes, $since] = [0.0, microtime(true)];
        $options = [
            CURLOPT_URL => $url,
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_HTTPHEADER => $headers,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_PATH_AS_IS => true,
            // All compressions that curl knows.
            CURLOPT_ENCODING => '',
            CURLOPT_NOSIGNAL => true,
            CURLOPT_CONNECTTIMEOUT_MS => max(1, (int) ($this->timeout * 1000)),
            CURLOPT_HEADERFUNCTION => static function (\CurlHandle $curl, string $line) use (&$answered): int {
                if (str_starts_with($line, 'HTTP/')) {
                    $answered = [];
                } elseif (str_contains($line, ':')) {
                    [$name, $value] = explode(':', $line, 2);
                    $answered[strtolower(trim($name))] = trim($value);
                }
                return strlen($line);
            },
            // A long answer is no fault. Silence is one: anything else than 0 stops the request.
            CURLOPT_NOPROGRESS => false,
            CURLOPT_PROGRESSFUNCTION => function (
                \CurlHandle $curl,
                float $downTotal,
                float $down,
                float $upTotal,
                float $up,
            ) use (
                &$bytes,
                &$since,
            ): int {
                if ($down + $up !== $bytes) {
                    [$bytes, $since] = [$down + $up, microtime(true)];
                }
                return microtime(true) - $since > $this->timeout ? 1 : 0;
            },
        ];
        if ($data !== null) {
            $options[CURLOPT_POSTFIELDS] = $data;
        }
        curl_setopt_array($this->curl, $options);
        $body = curl_exec($this->curl);
        if (!is_string($body)) {
            $isSilent = curl_errno($this->curl) === CURLE_ABORTED_BY_CALLBACK;
            $cause = $isSilent ? "nothing came for {$this->timeout} seconds" : curl_error($this->curl);
            throw new ConnectionFailed("$method $url: $cause", curl_errno($this->curl));
        }
        $status = curl_getinfo($this->curl, CURLINFO_RESPONSE_CODE);
        if ($status < 200 || $status > 299) {
            throw ApiError::of($status, $answered, $body);
        }
        return self::read($answered['content-type'] ?? '', $body);
    }

    private static function read(string $contentType, string $body): mixed
    {
        if ($body === '') {
            return null;
        }
        $type = strtolower(trim(explode(';', $contentType)[0]));
        if ($type === 'application/json' || str_ends_with($type, '+json')) {
            return json_decode($body, true, flags: JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
        }
        return $body;
    }

    /** A value as it stands in an address. */
    private static function text(mixed $value): string
    {
        return match (true) {
            is_bool($value) => $value ? 'true' : 'false',
            is_array($value) => implode(',', array_map(self::text(...), $value)),
            default => (string) $value,
        };
    }

    private static function uuid(): string
    {
        $bytes = random_bytes(16);
        $bytes[6] = chr(ord($bytes[6]) & 0x0f | 0x40);
        $bytes[8] = chr(ord($bytes[8]) & 0x3f | 0x80);
        return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex($bytes), 4));
    }
}
