"""elastiq scales a virtual batch cluster from within, through the EC2 interface."""
