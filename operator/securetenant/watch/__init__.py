"""The watch of our own custom resources, by kopf: their events go to the controller. Nothing else imports kopf."""
