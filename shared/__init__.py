"""What every Rollcall process shares: settings, the store, the gallery block, the match. Knows no worker."""
