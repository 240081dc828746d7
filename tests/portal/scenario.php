<?php
// The scenario in PHP: prints one line of JSON.
require getenv('SDK') . '/autoload.php';

use AiHub\Analytics\ApiError;
use AiHub\Analytics\Client;
use AiHub\Analytics\Errors;

$language = $argv[1];
$client = new Client(getenv('AIHUB_URL'), getenv('AIHUB_API_KEY'));
$source = preg_replace('~/[^/]*$~', "/scenario-$language", $client->defaultSource());
$model = "scenario-$language";
$seen = [];
$event = fn (int $number): array => [
    'specversion' => '1.0',
    'id' => "s-$number",
    'source' => $source,
    'type' => 'usage.request',
    'time' => getenv('SCENARIO_TIME'),
    'data' => ['model' => $model, 'input_tokens' => $number, 'output_tokens' => 1, 'status_code' => 200],
];

$first = $client->sendEvents(array_map($event, range(1, 7)));
$again = $client->sendEvents(array_map($event, range(1, 7)));
$seen['accepted'] = $first['accepted'];
$seen['duplicate'] = $again['duplicate'];
$queue = $client->eventQueue(batchSize: 10);
foreach (range(8, 30) as $number) {
    $queue->send($event($number));
}
$queue->send(['data' => ['model' => 'x', 'input_tokens' => -1]] + $event(31));
$queue->close();
$seen['queued'] = $queue->accepted;
$seen['rejected'] = array_map(fn (array $one): string => $one['verdict']['code'], $queue->rejected);
$sql = 'select count(*) as n, sum(input_tokens) as tokens from usage_events where source = $source';
$seen['rows'] = $client->runQuery(['sql' => $sql, 'params' => ['source' => $source]])['rows'];
$metric = $client->getMetric('requests', range: 'last_7_days', today: true, filter: "model=$model");
$seen['metric'] = $metric['rows'][0]['value'];
try {
    $client->getInvoice('inv_none');
} catch (Errors\NotFound $error) {
    $seen['error'] = [$error->status, $error->errorCode, $error->requestId !== null];
}
try {
    $client->runQuery(['sql' => 'select nothing from nowhere']);
} catch (ApiError $error) {
    $seen['query_error'] = $error->errorCode;
}
$seen['pages'] = 0;
foreach ($client->iterateListRequests(limit: 4, model: $model) as $_) {
    $seen['pages']++;
}
$faulty = new Client(getenv('AIHUB_FAULTY_URL'), getenv('AIHUB_API_KEY'), pause: 0.01);
$made = $faulty->createAnnotation(['at' => '2026-01-31T00:00:00Z', 'text' => $language]);
$seen['retried'] = $made['text'] === $language;
ksort($seen);
echo json_encode($seen, JSON_UNESCAPED_SLASHES), "\n";
