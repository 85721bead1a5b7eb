"""Where credits come from: the payments vendor's account, checkout, events, subscriptions."""
