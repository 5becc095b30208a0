"""The values between the layers: names, kinds, objects, quantities, and the record on what we wrote."""
