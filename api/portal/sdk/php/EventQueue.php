<?php

/** Events: how they are sent in batches. */

declare(strict_types=1);

namespace AiHub\Analytics;

/**
 * Collects events and sends them in batches: when `batchSize` are there, with the first event after `interval` seconds,
 * on `flush`, and when the program ends.
 *
 * A batch that could not be sent stays in the queue, and is sent again. Events that the API rejects are given to
 * `onRejected`, each with its verdict; without it they are collected in `rejected`. When `queueMax` events wait, `send`
 * throws `OverflowException`: nothing is dropped unseen.
 */
class EventQueue
{
    /** Seconds after a failure until `send` tries again. */
    private const PAUSE = 10.0;

    public int $accepted = 0;

    public int $duplicate = 0;

    /** @var list<array{event: array<string, mixed>, verdict: array<string, mixed>}> */
    public array $rejected = [];

    /**
     * Those to close at the end; none: nothing is registered yet.
     *
     * @var array<int, self>|null
     */
    private static ?array $open = null;

    /** @var list<array<string, mixed>> */
    private array $waiting = [];

    private readonly int $batchSize;

    private readonly ?\Closure $onRejected;

    private readonly ?\Closure $onError;

    private bool $isClosed = false;

    /** When the first of those that wait came. */
    private float $since = 0.0;

    /** `send` sends nothing before then. */
    private float $notBefore = 0.0;

    /**
     * @param int $batchSize at most 1000
     * @param (callable(array<string, mixed>, array<string, mixed>): mixed)|null $onRejected takes an event and its
     *     verdict
     * @param (callable(\Exception): mixed)|null $onError takes what kept `send` from sending
     */
    public function __construct(
        private readonly Client $client,
        int $batchSize = 500,
        private readonly float $interval = 1.0,
        private readonly int $queueMax = 100_000,
        ?callable $onRejected = null,
        ?callable $onError = null,
    ) {
        $this->batchSize = max(1, min($batchSize, 1000));
        $this->onRejected = $onRejected === null ? null : $onRejected(...);
        $this->onError = $onError === null ? null : $onError(...);
        if (self::$open === null) {
            self::$open = [];
            register_shutdown_function(self::closeAll(...));
        }
        self::$open[spl_object_id($this)] = $this;
    }

    /**
     * Adds an event.
     *
     * @param array<string, mixed> $event
     * @throws \JsonException what cannot be JSON is not added
     * @throws \OverflowException
     */
    public function send(array $event): void
    {
        if ($this->isClosed) {
            throw new \LogicException('the queue is closed');
        }
        if (count($this->waiting) >= $this->queueMax) {
            throw new \OverflowException($this->queueMax . ' events wait');
        }
        json_encode($event, JSON_THROW_ON_ERROR);
        $now = microtime(true);
        if ($this->waiting === []) {
            $this->since = $now;
        }
        $this->waiting[] = $event;
        $isDue = count($this->waiting) >= $this->batchSize || $now - $this->since >= $this->interval;
        if (!$isDue || $now < $this->notBefore) {
            return;
        }
        try {
            $this->flush();
        } catch (\Exception $error) {
            // The events stay in the queue.
            $this->notBefore = microtime(true) + self::PAUSE;
            if ($this->onError !== null) {
                ($this->onError)($error);
            }
        }
    }

    /**
     * Sends all that waits. Throws what the last attempt threw.
     *
     * @throws ApiError
     * @throws ConnectionFailed
     */
    public function flush(): void
    {
        while ($this->waiting !== []) {
            $batch = array_slice($this->waiting, 0, $this->batchSize);
            $verdicts = $this->verdicts($batch);
            array_splice($this->waiting, 0, count($batch));
            $this->notBefore = 0.0;
            $this->count($batch, $verdicts);
        }
    }

    /**
     * Sends all that waits, and ends.
     *
     * @throws ApiError
     * @throws ConnectionFailed
     */
    public function close(): void
    {
        if ($this->isClosed) {
            return;
        }
        $this->isClosed = true;
        unset(self::$open[spl_object_id($this)]);
        $this->flush();
    }

    /**
     * @param list<array<string, mixed>> $batch
     * @return array<string, mixed>
     */
    private function verdicts(array $batch): array
    {
        try {
            return $this->client->sendEvents($batch);
        } catch (ApiError $error) {
            if ($error->errorCode === 'all_rejected') {
                return $error->problem;
            }
            throw $error;
        }
    }

    /**
     * @param list<array<string, mixed>> $batch
     * @param array<string, mixed> $verdicts
     */
    private function count(array $batch, array $verdicts): void
    {
        foreach ($verdicts['results'] ?? [] as $verdict) {
            $event = $batch[$verdict['index']];
            if ($verdict['status'] === 'accepted') {
                $this->accepted++;
            } elseif ($verdict['status'] === 'duplicate') {
                $this->duplicate++;
            } elseif ($this->onRejected !== null) {
                ($this->onRejected)($event, $verdict);
            } else {
                $this->rejected[] = ['event' => $event, 'verdict' => $verdict];
            }
        }
    }

    /** Runs when the program ends. */
    private static function closeAll(): void
    {
        foreach (self::$open ?? [] as $queue) {
            try {
                $queue->close();
            } catch (\Exception $error) {
                $waiting = count($queue->waiting);
                error_log("aihub-analytics: $waiting events were not sent: " . $error->getMessage());
                if ($queue->onError !== null) {
                    ($queue->onError)($error);
                }
            }
        }
    }
}
