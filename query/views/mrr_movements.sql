-- What each subscription event did to an organization's monthly recurring revenue (MRR).
-- A yearly amount counts a twelfth. Trials and usage carry no MRR. `movement` is classified on the running
-- total of the organization: new (first time above zero), reactivation (above zero again), expansion,
-- contraction, churn (down to zero).
WITH facts AS (
  SELECT
    organization_id, subscription_id, occurred_at, lsn, plan,
    coalesce(currency, lag(currency) OVER of_subscription) AS currency,
    CASE
      WHEN kind = 'subscription_canceled' THEN CAST(0 AS DECIMAL(38, 12))
      WHEN billing_interval = 'year'
        THEN CAST(CAST(amount AS DECIMAL(18, 6)) / CAST(12 AS DECIMAL(2, 0)) AS DECIMAL(38, 12))
      ELSE amount
    END AS mrr
  FROM billing_events
  WHERE kind IN ('subscription_created', 'subscription_changed', 'subscription_canceled')
  WINDOW of_subscription AS (PARTITION BY organization_id, subscription_id ORDER BY occurred_at, lsn)
),
changes AS (
  SELECT
    *,
    CAST(mrr - coalesce(lag(mrr) OVER (
      PARTITION BY organization_id, subscription_id ORDER BY occurred_at, lsn
    ), CAST(0 AS DECIMAL(38, 12))) AS DECIMAL(38, 12)) AS change
  FROM facts
),
running AS (
  SELECT
    *,
    sum(change) OVER (
      PARTITION BY organization_id, currency ORDER BY occurred_at, lsn
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS mrr_after
  FROM changes
),
highest AS (
  SELECT
    *,
    max(mrr_after) OVER (
      PARTITION BY organization_id, currency ORDER BY occurred_at, lsn
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS highest_before
  FROM running
)
SELECT
  organization_id, subscription_id, occurred_at, plan, currency, change, mrr_after,
  CASE
    WHEN change = 0 THEN 'none'
    WHEN mrr_after = change AND coalesce(highest_before, CAST(0 AS DECIMAL(38, 12))) <= 0 THEN 'new'
    WHEN mrr_after = change THEN 'reactivation'
    WHEN mrr_after = 0 THEN 'churn'
    WHEN change > 0 THEN 'expansion'
    ELSE 'contraction'
  END AS movement
FROM highest
