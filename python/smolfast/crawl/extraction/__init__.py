"""From a page's HTML to its text, title, date and canonical address."""
