"""What params.yaml and recipes may say."""
