"""What stands wherever answers or results are shown."""

NOTICE = "Research software, not a medical device"
PHANTOMS = "Trained on simulated patients: it has seen drawn phantoms only, and says nothing about real ones"
