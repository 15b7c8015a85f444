"""Intent → port call → outcome. The executor decides nothing and keeps no queue: free slots are the planner's input."""
