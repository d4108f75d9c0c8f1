"""Training and measuring: objectives, plain and private training, evaluation."""
