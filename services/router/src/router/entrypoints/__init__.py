"""What the outside world reaches: the Faust worker and the RPCs."""
