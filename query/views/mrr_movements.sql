-- What a day did to the monthly recurring revenue (MRR) of an organization, in one currency.
-- A yearly amount counts a twelfth. Trials and usage carry no MRR. Events of one UTC day are one movement, so that a
-- switch of plans by cancellation and a new subscription is what it comes to. Events at the same instant are taken in
-- the order canceled, changed, created, then by id: never in the order of their arrival.
-- `movement` is classified on the running total: new (first time above zero), reactivation (above zero again),
-- expansion, contraction, churn (down to zero).
WITH subscription_events AS (
  SELECT
    organization_id, subscription_id, occurred_at, event_date, event_id, currency,
    CASE kind WHEN 'subscription_canceled' THEN 0 WHEN 'subscription_changed' THEN 1 ELSE 2 END AS step,
    CASE
      WHEN kind = 'subscription_canceled' THEN CAST(0 AS DECIMAL(38, 12))
      WHEN billing_interval = 'year'
        THEN CAST(amount / CAST(12 AS DECIMAL(2, 0)) AS DECIMAL(38, 12))
      ELSE amount
    END AS mrr
  FROM billing_events
  WHERE kind IN ('subscription_created', 'subscription_changed', 'subscription_canceled')
),
facts AS (
  SELECT
    organization_id, subscription_id, occurred_at, event_date, event_id, step, mrr,
    coalesce(currency, lag(currency) OVER of_subscription) AS currency
  FROM subscription_events
  WINDOW of_subscription AS (
    PARTITION BY organization_id, subscription_id ORDER BY occurred_at, step, event_id
  )
),
steps AS (
  SELECT
    *,
    lag(currency) OVER of_subscription AS currency_before,
    coalesce(lag(mrr) OVER of_subscription, CAST(0 AS DECIMAL(38, 12))) AS mrr_before
  FROM facts
  WINDOW of_subscription AS (
    PARTITION BY organization_id, subscription_id ORDER BY occurred_at, step, event_id
  )
),
-- A change of currency takes the amount out of one and puts another into the other: they are never added.
changes AS (
  SELECT
    organization_id, occurred_at, event_date,
    CASE WHEN leaves THEN currency_before ELSE currency END AS currency,
    CAST(CASE
      WHEN leaves THEN -mrr_before
      WHEN currency IS DISTINCT FROM currency_before THEN mrr
      ELSE mrr - mrr_before
    END AS DECIMAL(38, 12)) AS change
  FROM steps CROSS JOIN (VALUES (false), (true)) AS sides (leaves)
  -- A cancellation of what nobody knows has no currency, and moves nothing.
  WHERE (NOT leaves AND (currency IS NOT NULL OR mrr <> 0)) OR ((currency IS DISTINCT FROM currency_before) AND mrr_before > 0)
),
days AS (
  SELECT
    organization_id, currency, event_date,
    max(occurred_at) AS occurred_at, CAST(sum(change) AS DECIMAL(38, 12)) AS change
  FROM changes
  GROUP BY organization_id, currency, event_date
),
running AS (
  SELECT
    *,
    sum(change) OVER (
      PARTITION BY organization_id, currency ORDER BY event_date
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS mrr_after
  FROM days
  WHERE change <> 0
),
highest AS (
  SELECT
    *,
    max(mrr_after) OVER (
      PARTITION BY organization_id, currency ORDER BY event_date
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS highest_before
  FROM running
)
SELECT
  organization_id, occurred_at, currency, change, mrr_after,
  CASE
    WHEN mrr_after = change AND coalesce(highest_before, CAST(0 AS DECIMAL(38, 12))) <= 0 THEN 'new'
    WHEN mrr_after = change THEN 'reactivation'
    WHEN mrr_after = 0 THEN 'churn'
    WHEN change > 0 THEN 'expansion'
    ELSE 'contraction'
  END AS movement
FROM highest
