"""How the shipped model is made: rows, augmentation, training, calibration, export, card. Needs the `train` extra."""
