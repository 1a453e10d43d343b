"""What is made of finished results for other programs: datasets, and motions for biomechanics."""
