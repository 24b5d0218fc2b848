"""The prompts of label sets. Read ``prompts`` first: it checks them with the tokenizer and says
which are alike. ``vectors`` makes vectors of them."""
