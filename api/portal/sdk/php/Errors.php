<?php

/** Errors: one class for each code of the API. */

declare(strict_types=1);

namespace AiHub\Analytics;

/** There was no answer. */
class ConnectionFailed extends \RuntimeException
{
}

/** The request is not ours, or too old. */
class InvalidSignature extends \RuntimeException
{
}

/** The API refused a request. `errorCode` is stable: decide by it, or by the class. */
class ApiError extends \RuntimeException
{
    private const BY_CODE = [
<% for code in codes %>
        '<< code.code >>' => Errors\<< code.pascal >>::class,
<% endfor %>
    ];

    /** The status of HTTP. */
    public readonly int $status;

    public readonly ?string $errorCode;

    public readonly ?string $detail;

    /** Names the request in our logs. */
    public readonly ?string $requestId;

    /** In seconds. */
    public readonly ?float $retryAfter;

    /**
     * The whole answer, by RFC 9457.
     *
     * @var array<string, mixed>
     */
    public readonly array $problem;

    /**
     * @param array<string, mixed> $problem
     * @param array<string, string> $headers their names in lower case
     */
    final public function __construct(int $status, array $problem, array $headers = [])
    {
        $this->status = $status;
        $this->problem = $problem;
        $this->errorCode = self::text($problem['code'] ?? null);
        $this->detail = self::text($problem['detail'] ?? null);
        $this->requestId = $headers['x-request-id'] ?? self::text($problem['instance'] ?? null);
        $after = $headers['retry-after'] ?? null;
        $this->retryAfter = is_numeric($after) ? max(0.0, (float) $after) : null;
        $words = $this->detail ?? self::text($problem['title'] ?? null) ?? 'no detail';
        $code = $this->errorCode === null ? '' : ' ' . $this->errorCode;
        parent::__construct($status . $code . ': ' . $words, $status);
    }

    /**
     * The error that an answer is.
     *
     * @param array<string, string> $headers their names in lower case
     */
    public static function of(int $status, array $headers, string $body): self
    {
        $problem = json_decode($body, true);
        if (!is_array($problem)) {
            $problem = ['title' => substr($body, 0, 200)];
        }
        $class = self::BY_CODE[self::text($problem['code'] ?? null) ?? ''] ?? self::class;
        return new $class($status, $problem, $headers);
    }

    private static function text(mixed $value): ?string
    {
        return is_string($value) ? $value : null;
    }
}

namespace AiHub\Analytics\Errors;

use AiHub\Analytics\ApiError;
<% for code in codes %>

/** `<< code.code >>` */
class << code.pascal >> extends ApiError
{
}
<% endfor %>
