"""What makes a lesson believe that it is on Colab; the real one can be had there only."""
