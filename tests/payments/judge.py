"""Whether Stripe's own library takes a webhook as signed. Usage: judge.py SECRET HEADER < BODY; prints yes or no."""

import sys

import stripe

TOLERANCE_SECONDS = 300

body = sys.stdin.buffer.read().decode()
try:
    stripe.WebhookSignature.verify_header(body, sys.argv[2], sys.argv[1], TOLERANCE_SECONDS)
    print("yes")
except stripe.SignatureVerificationError:
    print("no")
